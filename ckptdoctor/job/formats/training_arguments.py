"""A file of transformers' ``TrainingArguments``, and what LLaMA-Factory's jobs share with it."""

from __future__ import annotations

from pathlib import Path

from ckptdoctor.errors import UsageFault
from ckptdoctor.job import files, models
from ckptdoctor.job.fields import Fields
from ckptdoctor.job.format import Format
from ckptdoctor.job.formats import deepspeed
from ckptdoctor.job.job import Job
from ckptdoctor.job.releases import Releases
from ckptdoctor.model.evidence import Setup

TRANSFORMERS = "transformers"

UNTRIED = {
    "fsdp": "FSDP shards the model; it is tried whole.",
    "torch_compile": "compilation of the model (`torch.compile`).",
    "torch_compile_backend": "compilation of the model (`torch.compile`).",
    "torch_compile_mode": "compilation of the model (`torch.compile`).",
    "use_liger_kernel": "Liger's kernels in the layers.",
    "parallelism_config": "tensor, context or sequence parallelism.",
}
"""What ``TrainingArguments`` can ask for and cannot be tried."""

BY_LAYER = ("galore", "apollo", "lomo", "adalomo")
"""Optimizers, as ``optim`` names them, that step or project while gradients are on their way."""

FSDP_CHECKPOINTING = (
    "activation_checkpointing",
    "fsdp_activation_checkpointing",
    "xla_fsdp_grad_ckpt",
    "fsdp_xla_fsdp_grad_ckpt",
)
"""FSDP's own checkpointing, and that of XLA's FSDP, under the names that ``fsdp_config`` takes."""

OF_CHECKPOINT = {
    "every_n_layers": "only some layers are checkpointed; all are tried.",
    "offload": "the inputs for recomputation are moved to the CPU.",
}
"""Keyword arguments of checkpointing that transformers itself takes; others go to torch's function."""


def read(fields: Fields, releases: Releases, choice: models.Choice) -> Job:
    """Read a file of ``TrainingArguments``."""
    unjudged = by_fsdp(fields)
    if not unjudged:
        _no_default_of_trls(fields)
    is_checkpointed, reentrant, untried = checkpointing(fields)
    model = models.find(
        choice, fields.text("model_name_or_path"), fields.text("model_revision"), key="model_name_or_path"
    )
    configuration = deepspeed.asked_for(fields)
    precision, remarks = deepspeed.precision_of(configuration, precision_of(fields))
    untried += [*model.untried, *configuration.untried, *remarks, *shared(fields)]
    untried += fields.untried({"use_peft": "TRL's adapter; all of the model is trained."})
    return Job(
        fields.source,
        TRANSFORMERS,
        model.folder,
        model.name,
        model.kind,
        releases.torchs(reentrant) if is_checkpointed else [],
        configuration.engine,
        is_checkpointed,
        Setup(precision=precision, reentrant=reentrant, deepspeed=configuration.text),
        untried,
        unjudged,
    )


def checkpointing(fields: Fields) -> tuple[bool, bool | None, list[str]]:
    """Whether the Trainer switches checkpointing on, whether reentrant, and what of it is not tried.

    Both names of each setting are read, since transformers 5.23 renamed them and takes the old ones where the new are
    missing.
    """
    new = "activation_checkpointing" if fields.says("activation_checkpointing") else "gradient_checkpointing"
    is_on = fields.flag(new)
    name = f"{'activation' if fields.says('activation_checkpointing_kwargs') else 'gradient'}_checkpointing_kwargs"
    section = fields.section(name)
    reentrant = section.flag("use_reentrant") if section.says("use_reentrant") else None
    if not is_on:
        return False, None, []
    reason = "torch's checkpoint function is tried without it."
    return (
        True,
        reentrant,
        [*section.untried(OF_CHECKPOINT), *section.others(("use_reentrant", *OF_CHECKPOINT), reason)],
    )


def by_fsdp(fields: Fields) -> list[str]:
    """Why a job's checkpointing cannot be judged where ``fsdp_config`` switches on FSDP's own; nothing where it does not."""
    value = fields.values.get("fsdp_config")
    if isinstance(value, str) and value and not value.startswith("{"):
        if not value.isprintable() or not Path(value).is_file():
            return [fields.sentence("fsdp_config", "the file is not here, and may switch FSDP's own checkpointing on.")]
        section = Fields(value, files.load_json(value, "a configuration of FSDP"))
    else:
        section = fields.section("fsdp_config")
    reason = "FSDP's own activation checkpointing wraps the layers; it is not judged yet."
    found = [name for name in FSDP_CHECKPOINTING if section.leniently().asks_for(name)]
    return [section.sentence_of(found, reason)] if found else []


def precision_of(fields: Fields) -> deepspeed.Precision:
    """The precision that ``bf16`` and ``fp16`` ask for.

    Raises:
        UsageFault: They ask for both, which transformers refuses.
    """
    is_bf16, is_fp16 = fields.flag("bf16"), fields.flag("fp16")
    if is_bf16 and is_fp16:
        raise UsageFault(f"{fields.source} sets both bf16 and fp16, which transformers rejects.", "keep one of them")
    return "bf16" if is_bf16 else "fp16" if is_fp16 else "fp32"


def shared(fields: Fields) -> list[str]:
    """What a file asks for by settings of ``TrainingArguments`` and cannot be tried."""
    found = fields.untried(UNTRIED)
    optimizer = fields.values.get("optim")
    if isinstance(optimizer, str) and any(name in optimizer.lower() for name in BY_LAYER):
        found.append(fields.sentence("optim", "an optimizer that works layer by layer."))
    if "apex" in (fields.values.get("half_precision_backend"), fields.values.get("fp16_backend")):
        found.append(fields.sentence("half_precision_backend", "mixed precision by NVIDIA's apex."))
    return found


def _no_default_of_trls(fields: Fields) -> None:
    """Refuse to guess: TRL's arguments take the same keys, and switch checkpointing on unless told otherwise."""
    if not any(fields.says(name) for name in ("gradient_checkpointing", "activation_checkpointing")):
        raise UsageFault(
            f"{fields.source} does not set `gradient_checkpointing`: transformers leaves it off by default, and TRL on.",
            "write `gradient_checkpointing: true` or `false` into it",
        )


FORMAT = Format(
    name=TRANSFORMERS,
    title="transformers' TrainingArguments",
    read=read,
    shared=frozenset(
        {
            "per_device_train_batch_size",
            "gradient_checkpointing_kwargs",
            "activation_checkpointing_kwargs",
            "num_train_epochs",
            "lr_scheduler_type",
            "save_strategy",
            "eval_strategy",
            "evaluation_strategy",
            "logging_strategy",
        }
    ),
)
