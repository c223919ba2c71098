"""A file of transformers' ``TrainingArguments``, and what LLaMA-Factory's jobs share with it."""

from __future__ import annotations

import dataclasses

from ckptdoctor.errors import UsageFault
from ckptdoctor.job import files, models
from ckptdoctor.job.fields import Fields
from ckptdoctor.job.format import Format
from ckptdoctor.job.formats import deepspeed
from ckptdoctor.job.job import Job
from ckptdoctor.job.launch import Launch, Sharding, sharding
from ckptdoctor.job.releases import Releases
from ckptdoctor.job.wrapping import FSDP_CHECKPOINTING, Wrapping, wrapped
from ckptdoctor.model.evidence import Setup

TRANSFORMERS = "transformers"

OFFLOAD = "transformers:offload"
"""Its own checkpointing with offloading: ``offload`` among the arguments of checkpointing."""

UNTRIED = {
    "use_liger_kernel": "Liger's kernels in the layers.",
    "parallelism_config": "tensor, context or sequence parallelism.",
}
"""What ``TrainingArguments`` can ask for and cannot be tried."""

BY_LAYER = ("galore", "apollo", "lomo", "adalomo")
"""Optimizers, as ``optim`` names them, that step or project while gradients are on their way."""

FSDP2_BY_DEFAULT = "5.10.0"
"""The release of transformers from which on ``fsdp_config`` without a version is FSDP2; before it is FSDP1."""

OWN_PLUGIN = "5.10.0"
"""The release from which on Trainer leaves an FSDP of the launcher's as it is, whatever the job's ``fsdp_config`` says."""

VERSION_IN_CONFIG = "5.0.0"
"""Before, ``version`` in ``fsdp_config`` was not read: FSDP's version came from accelerate's configuration alone."""

OF_CHECKPOINT = {
    "every_n_layers": "only some layers are checkpointed; all are tried.",
}
"""Keyword arguments of checkpointing that transformers itself takes; others go to torch's function."""


def read(fields: Fields, releases: Releases, choice: models.Choice, launch: Launch) -> Job:
    """Read a file of ``TrainingArguments``."""
    sharded = sharding_of(fields, releases, launch)
    if not (sharded and sharded.is_checkpointed):
        _no_default_of_trls(fields)
    is_checkpointed, reentrant, untried = checkpointing(fields)
    model = models.find(
        choice, fields.text("model_name_or_path"), fields.text("model_revision"), key="model_name_or_path"
    )
    configuration = deepspeed.asked_for(fields, launch)
    precision, remarks = deepspeed.precision_of(configuration, precision_of(fields, launch))
    wrapping = wrapped(fields, launch, configuration, sharded, precision, is_checkpointed)
    untried += [*model.untried, *configuration.untried, *remarks, *wrapping.untried, *shared(fields)]
    untried += both_on(wrapping, is_checkpointed)
    own, reentrant = functions(fields, reentrant, releases) if is_checkpointed else ([], reentrant)
    setup = Setup(precision=precision, reentrant=reentrant, deepspeed=configuration.text)
    return wrapping.job(fields, TRANSFORMERS, model, own, setup, untried)


def checkpointing(fields: Fields) -> tuple[bool, bool | None, list[str]]:
    """Whether the Trainer switches checkpointing on, whether reentrant, and what of it is not tried.

    Both names of each setting are read, since transformers 5.23 renamed them and takes the old ones where the new are
    missing.
    """
    new = "activation_checkpointing" if fields.says("activation_checkpointing") else "gradient_checkpointing"
    is_on = fields.flag(new)
    section = arguments(fields)
    reentrant = section.flag("use_reentrant") if section.says("use_reentrant") else None
    if not is_on:
        return False, None, []
    reason = "torch's checkpoint function is tried without it."
    return (
        True,
        reentrant,
        [*section.untried(OF_CHECKPOINT), *section.others(("use_reentrant", "offload", *OF_CHECKPOINT), reason)],
    )


def arguments(fields: Fields) -> Fields:
    """What the Trainer passes to checkpointing when it switches it on."""
    name = "activation" if fields.says("activation_checkpointing_kwargs") else "gradient"
    return fields.section(f"{name}_checkpointing_kwargs")


def functions(fields: Fields, reentrant: bool | None, releases: Releases) -> tuple[list[str], bool | None]:
    """The functions that a Trainer's switch comes to, and whether they are reentrant: torch's, or with offloading its own."""
    if arguments(fields).asks_for("offload"):
        return [OFFLOAD], releases.reentrant(reentrant)
    return releases.torchs(reentrant), reentrant


def sharding_of(fields: Fields, releases: Releases, launch: Launch) -> Sharding | None:
    """FSDP as ``fsdp`` and ``fsdp_config`` ask for it; nothing where the job itself does not.

    Raises:
        UsageFault: The file of ``fsdp_config`` cannot be read.
    """
    value = fields.values.get("fsdp_config")
    if isinstance(value, str) and value and not value.startswith("{"):
        section = Fields(value, files.load_json(value, "a configuration of FSDP"))
    else:
        section = fields.section("fsdp_config")
    if not fields.asks_for("fsdp"):
        return _within_launchers(section, releases, launch)
    if releases.is_from(TRANSFORMERS, VERSION_IN_CONFIG) is False:
        by_launcher = launch.sharding.version if launch.kind == "fsdp" else 1
        return sharding(section, by_launcher, reads_version=False)
    return sharding(section, 2 if releases.is_from(TRANSFORMERS, FSDP2_BY_DEFAULT) is not False else 1)


def _within_launchers(section: Fields, releases: Releases, launch: Launch) -> Sharding | None:
    """A job's ``fsdp_config`` without ``fsdp``, which counts under an FSDP of the launcher's, and only its checkpointing."""
    own = sharding(section)
    if not own.is_checkpointed:
        return None
    if launch.kind != "fsdp":
        return dataclasses.replace(own, is_there=False)
    counts = releases.is_from(TRANSFORMERS, OWN_PLUGIN) is not True or launch.sharding.is_checkpointed
    return dataclasses.replace(launch.sharding, is_checkpointed=counts)


def both_on(wrapping: Wrapping, is_switched_on: bool) -> list[str]:
    """What transformers says to FSDP's own checkpointing beside that of its Trainer."""
    if not (wrapping.is_fsdp_checkpointed and is_switched_on):
        return []
    return [f"{FSDP_CHECKPOINTING}, beside `gradient_checkpointing`: transformers' Trainer refuses both together."]


def precision_of(fields: Fields, launch: Launch) -> deepspeed.Precision:
    """The precision that ``bf16`` and ``fp16`` ask for; without either, the one that accelerate's configuration names.

    Raises:
        UsageFault: They ask for both, which transformers refuses.
    """
    is_bf16, is_fp16 = fields.flag("bf16"), fields.flag("fp16")
    if is_bf16 and is_fp16:
        raise UsageFault(f"{fields.source} sets both bf16 and fp16, which transformers rejects.", "keep one of them")
    if not (is_bf16 or is_fp16):
        by_launcher: dict[str, deepspeed.Precision] = {"bf16": "bf16", "fp16": "fp16", "fp8": "bf16"}
        return by_launcher.get(launch.precision, "fp32")
    return "bf16" if is_bf16 else "fp16"


def other_attention(fields: Fields, name: str = "attn_implementation") -> list[str]:
    """The sentence on an attention whose kernels are not tried; ``name`` is what the trainer calls the setting."""
    if fields.values.get(name) in (None, "", "eager", "sdpa"):
        return []
    return [fields.sentence(name, "kernels of another attention; the model's usual attention is tried.")]


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
            "write `gradient_checkpointing: true` or `false` into it, or add --job gradient_checkpointing=true",
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
