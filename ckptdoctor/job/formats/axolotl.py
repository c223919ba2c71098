"""A job of axolotl's, read as ``axolotl train`` reads it."""

from __future__ import annotations

import dataclasses
from typing import Literal, NamedTuple

from ckptdoctor.job import models
from ckptdoctor.job.families import Hints
from ckptdoctor.job.fields import Fields
from ckptdoctor.job.format import Format
from ckptdoctor.job.formats import deepspeed, training_arguments
from ckptdoctor.job.formats.axolotl_untried import BEYOND_ONE, LORA_UNTRIED, UNTRIED
from ckptdoctor.job.formats.deepspeed import Precision
from ckptdoctor.job.job import Job
from ckptdoctor.job.launch import Launch, Sharding, sharding
from ckptdoctor.job.releases import NON_REENTRANT, Releases
from ckptdoctor.job.trainer_arguments import unknown
from ckptdoctor.job.wrapping import wrapped
from ckptdoctor.model.evidence import Setup

AXOLOTL = "axolotl"

OFFLOAD, OFFLOAD_DISK = "axolotl:offload", "axolotl:offload-disk"

TRLS_OFFLOADING = "0.12.0"
"""Since then ``gradient_checkpointing: offload`` stands for TRL's offloading, and no more for axolotl's own function."""
LEGACY_BY_ADAPTER = "0.18.0"
"""Since then ``activation_offloading: legacy`` reaches axolotl's own function through an adapter's loading alone."""

NON_REENTRANT_FAMILIES = ("gemma4", "gemma4_unified")
"""Families that it never checkpoints reentrantly."""

ADAPTERS = ("lora", "qlora")


def read(fields: Fields, releases: Releases, choice: models.Choice, launch: Launch) -> Job:
    """Read a job of axolotl's."""
    fields = fields.leniently()
    key = "base_model_config" if fields.says("base_model_config") else "base_model"
    tuning = _tuning(fields)
    model_type = fields.text("type_of_model") or fields.text("model_type")
    hints = Hints(model_type, tuning.lora_targets, AXOLOTL, fields.text("chat_template"))
    model = models.find(choice, fields.text(key), fields.text("revision_of_model"), key=key, hints=hints)
    configuration = deepspeed.asked_for(fields, launch)
    wanted, remarks = _precision(fields)
    precision, more = deepspeed.precision_of(configuration, wanted)
    checkpointing = _checkpointing(fields, tuning, model.kind, releases)
    is_on = bool(checkpointing.functions)
    wrapping = wrapped(
        _with_its_default(fields, model.kind), launch, configuration, _sharding(fields), precision, is_on
    )
    untried = [
        *checkpointing.untried,
        *model.untried,
        *tuning.untried,
        *configuration.untried,
        *remarks,
        *more,
        *wrapping.untried,
        *training_arguments.both_on(wrapping, is_on),
        *_untried(fields),
    ]
    setup = Setup(
        tuning.tuning,
        tuning.lora_targets,
        0,
        precision,
        checkpointing.reentrant,
        configuration.text,
        inputs_require_grad=True,
    )
    return wrapping.job(fields, AXOLOTL, model, checkpointing.functions, setup, untried)


def _sharding(fields: Fields) -> Sharding | None:
    """FSDP as ``fsdp`` or ``fsdp_config`` ask for it; its version is ``fsdp_version``, or stands in ``fsdp_config``."""
    if not fields.asks_for("fsdp") and not fields.asks_for("fsdp_config"):
        return None
    found = sharding(fields.section("fsdp_config"))
    return dataclasses.replace(found, version=fields.whole("fsdp_version", found.version))


def _with_its_default(fields: Fields, family: str) -> Fields:
    """``ddp: true`` without a word on unused parameters means that none are looked for; but for some families."""
    if not fields.flag("ddp") or fields.says("ddp_find_unused_parameters"):
        return fields
    looks = family in NON_REENTRANT_FAMILIES and fields.values.get("activation_offloading") is not True
    return fields.replaced("ddp_find_unused_parameters", looks)


class _Checkpointing(NamedTuple):
    functions: list[str]
    reentrant: bool | None = None
    untried: tuple[str, ...] = ()


class _Tuning(NamedTuple):
    tuning: Literal["full", "lora"]
    lora_targets: tuple[str, ...] = ()
    untried: tuple[str, ...] = ()


def _checkpointing(fields: Fields, tuning: _Tuning, family: str, releases: Releases) -> _Checkpointing:
    asked = fields.switch("gradient_checkpointing", ("offload", "offload_disk", "unsloth"))
    offloading = fields.switch("activation_offloading", ("legacy", "disk", "hidden_states", "offload_disk"))
    reentrant, untried = _reentrant(fields, family, offloading == "hidden_states")
    if not asked:
        if offloading:
            reason = "axolotl refuses it without `gradient_checkpointing`."
            return _Checkpointing([], None, (fields.sentence("activation_offloading", reason),))
        return _Checkpointing([])
    torchs = releases.torchs(reentrant)
    if isinstance(asked, str):
        functions, more = _by_word(fields, asked, tuning, torchs, releases)
    else:
        functions, more = _by_offloading(fields, offloading, tuning, torchs, releases)
    if functions == [NON_REENTRANT]:
        reentrant = False
    # True is the default of axolotl's, and what it is without a word of the job's.
    is_told = reentrant is False or fields.section("gradient_checkpointing_kwargs").says("use_reentrant")
    return _Checkpointing(functions, reentrant if is_told else None, (*more, *untried))


def _reentrant(fields: Fields, family: str, is_hidden_states: bool) -> tuple[bool | None, list[str]]:
    """What it makes of ``gradient_checkpointing_kwargs``; without them, reentrant in the usual case."""
    section = fields.section("gradient_checkpointing_kwargs")
    untried = section.others(("use_reentrant",), "torch's checkpoint function is tried without it.")
    if family in NON_REENTRANT_FAMILIES:
        return False, untried
    if section.says("use_reentrant"):
        return section.flag("use_reentrant"), untried
    if is_hidden_states:
        return False, untried
    if fields.says("gradient_checkpointing_kwargs"):
        return None, untried
    return not (fields.says("unfrozen_parameters") or fields.says("rl")), untried


def _by_word(
    fields: Fields, asked: str, tuning: _Tuning, torchs: list[str], releases: Releases
) -> tuple[list[str], list[str]]:
    """``gradient_checkpointing: offload``, which means one thing up to a release and another from then on."""
    own = OFFLOAD_DISK if asked == "offload_disk" else OFFLOAD
    is_trls = releases.is_from("axolotl", TRLS_OFFLOADING)
    if asked == "unsloth" or is_trls is False:
        return [own], []
    reason = f"TRL's offloading, from axolotl {TRLS_OFFLOADING} on; the recomputation is tried without it."
    functions = _under_trls(tuning, torchs)
    return functions if is_trls else [own, *functions], [fields.sentence("gradient_checkpointing", reason)]


def _by_offloading(
    fields: Fields, offloading: bool | str, tuning: _Tuning, torchs: list[str], releases: Releases
) -> tuple[list[str], list[str]]:
    """``activation_offloading`` beside ``gradient_checkpointing: true``."""
    if not offloading:
        return torchs, []
    reason = "TRL's offloading; the recomputation is tried without it."
    if offloading == "legacy":
        is_by_adapter = releases.is_from("axolotl", LEGACY_BY_ADAPTER)
        if is_by_adapter is False or tuning.tuning == "lora":
            return [OFFLOAD], []
        functions = [NON_REENTRANT] if is_by_adapter else [OFFLOAD, NON_REENTRANT]
        return functions, [fields.sentence("activation_offloading", reason)]
    if offloading is True:
        return _under_trls(tuning, torchs), [fields.sentence("activation_offloading", reason)]
    if offloading == "hidden_states":
        reason = "the layers' inputs are moved to the CPU; the recomputation is tried without that."
    return torchs, [fields.sentence("activation_offloading", reason)]


def _under_trls(tuning: _Tuning, torchs: list[str]) -> list[str]:
    """Without an adapter it wraps the layers in torch's own wrapper, which is not reentrant."""
    return torchs if tuning.tuning == "lora" else [NON_REENTRANT]


def _tuning(fields: Fields) -> _Tuning:
    kind = fields.text("adapter")
    if not kind:
        return _Tuning("full")
    if kind not in ADAPTERS:
        reason = "an adapter of another kind than LoRA; all of the model is trained."
        return _Tuning("full", (), (fields.sentence("adapter", reason),))
    untried = fields.untried(LORA_UNTRIED)
    if fields.section("peft").asks_for("loftq_config"):
        untried.append(fields.sentence("peft", "LoftQ; plain LoRA is tried."))
    if name := fields.text("lora_model_dir"):
        adapter = models.find_adapter(name, "lora_model_dir")
        untried += adapter.untried
        if adapter.targets is not None:
            return _Tuning("lora", adapter.targets, tuple(untried))
    targets, more = _targets(fields)
    return _Tuning("lora", targets, (*untried, *more))


def _targets(fields: Fields) -> tuple[tuple[str, ...], list[str]]:
    value = fields.values.get("lora_target_modules")
    if fields.flag("lora_target_linear") or value == "all-linear":
        return (), []
    if isinstance(value, str) and value:
        reason = "a pattern of modules; every linear layer gets an adapter."
        return (), [fields.sentence("lora_target_modules", reason)]
    targets = fields.names("lora_target_modules")
    if not targets:
        reason = "the job names no modules; every linear layer gets an adapter."
        return (), [fields.sentence("lora_target_modules", reason)]
    return targets, []


def _precision(fields: Fields) -> tuple[Precision, list[str]]:
    """What ``bf16`` comes to; ``auto``, which is the default, gives way to fp16."""
    bf16 = fields.switch("bf16", ("auto", "full"), "auto")
    is_fp16 = fields.flag("fp16")
    if bf16 == "auto" and is_fp16:
        return "fp16", []
    if bf16 == "auto":
        return "bf16", [fields.sentence("bf16", "auto is bf16 where the GPU has it, else fp16; bf16 is tried.")]
    if bf16 or fields.flag("bfloat16"):
        return "bf16", []
    return ("fp16" if is_fp16 or fields.flag("float16") else "fp32"), []


def _untried(fields: Fields) -> list[str]:
    found = [*fields.untried(UNTRIED), *fields.beyond_one(BEYOND_ONE)]
    attention = fields.values.get("attn_implementation")
    if attention not in (None, "eager", "sdpa"):
        reason = "kernels of another attention; the model's usual attention is tried."
        found.append(fields.sentence("attn_implementation", reason))
    return found


FORMAT = Format(
    name=AXOLOTL,
    title="axolotl",
    read=read,
    refused=lambda keys, environment: unknown(
        keys, environment, {AXOLOTL: ("utils/schemas/**/*.py", "integrations/**/*.py")}
    ),
    on_unknown="ignores it",
    model=("base_model", "base_model_config"),
    beside_model=frozenset(
        {
            "sequence_len",
            "micro_batch_size",
            "adapter",
            "datasets",
            "gradient_checkpointing",
            "load_in_4bit",
            "load_in_8bit",
            "lora_target_linear",
            "num_epochs",
            "pretraining_dataset",
            "sample_packing",
            "val_set_size",
        }
    ),
)
