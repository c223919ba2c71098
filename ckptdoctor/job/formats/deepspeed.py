"""A configuration of DeepSpeed: a job's, or one that is given alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ckptdoctor.errors import UsageFault
from ckptdoctor.job import files
from ckptdoctor.job.fields import Fields
from ckptdoctor.job.format import Format
from ckptdoctor.job.job import Job
from ckptdoctor.job.launch import Launch
from ckptdoctor.job.models import Choice
from ckptdoctor.job.releases import Releases
from ckptdoctor.model.evidence import Setup

DEEPSPEED = "deepspeed"

Precision = Literal["fp32", "bf16", "fp16"]

LONGEST_PATH = 1000

KIND = "a configuration of DeepSpeed"
STAGES = (0, 1, 2, 3)

KEPT = (
    "train_batch_size",
    "train_micro_batch_size_per_gpu",
    "gradient_accumulation_steps",
    "gradient_clipping",
    "gradient_predivide_factor",
    "prescale_gradients",
    "communication_data_type",
    "zero_allow_untested_optimizer",
    "zero_force_ds_cpu_optimizer",
    "optimizer",
    "scheduler",
    "fp16",
    "bf16",
    "data_types",
    "zero_optimization",
    "activation_checkpointing",
    "compile",
)
"""Sections that are passed on. Others have no part in a step, are not tried, or may hold keys to somebody's account."""

UNTRIED = {
    "amp": "mixed precision by NVIDIA's apex.",
    "torch_autocast": "autocast set up by DeepSpeed itself.",
    "compression_training": "weights that are pruned or quantized in training.",
    "quantize_training": "weights that are quantized in training.",
    "progressive_layer_drop": "layers that are skipped at random.",
    "sparse_attention": "sparse attention.",
    "data_efficiency": "tokens that layers skip at random.",
    "hybrid_engine": "generation between training steps.",
    "pipeline": "pipeline parallelism.",
    "compile": "compilation of the model (`torch.compile`).",
}
"""Sections that are not tried. A section with ``enabled: false`` asks for nothing."""

ZERO_UNTRIED = {
    "zero_quantized_weights": "ZeRO++ with quantized weights.",
    "zero_quantized_nontrainable_weights": "ZeRO++ with quantized weights.",
    "zero_quantized_gradients": "ZeRO++ with quantized gradients.",
    "zero_hpz_partition_size": "ZeRO++ with parameters kept twice.",
    "mics_shard_size": "MiCS, parameters sharded in groups.",
    "zenflow": "ZenFlow's offloading.",
    "super_offload": "SuperOffload.",
}
"""Settings of ZeRO that are not tried, and are left out of what is."""

USUAL = {"zero_hpz_partition_size": 1, "mics_shard_size": -1}
"""Values of those that ask for nothing."""


@dataclass
class Configuration:
    """What a job asks of DeepSpeed.

    Attributes:
        engine: ``none`` where it does not use it, else ``zero0`` to ``zero3``.
        text: What of it is to be tried, as JSON.
        enabled: For ``bf16`` and ``fp16``: true, false, or nothing where that is left to the trainer.
        untried: A sentence for each thing that is not tried.
    """

    engine: str = "none"
    text: str = ""
    enabled: dict[str, bool | None] = field(default_factory=dict)
    untried: list[str] = field(default_factory=list)


def read(fields: Fields, releases: Releases, choice: Choice, launch: Launch) -> Job:
    """Read a configuration that is given alone: it says nothing of model, trainer or checkpointing."""
    configuration = configured(fields)
    precision, remarks = precision_of(configuration, "fp32", is_alone=True)
    untried = [*configuration.untried, *remarks]
    if fields.asks_for("activation_checkpointing"):
        reason = "only DeepSpeed's own checkpoint function uses it: try that with --checkpoint-fn deepspeed."
        untried.append(fields.sentence("activation_checkpointing", reason))
    return Job(
        fields.source,
        DEEPSPEED,
        engine=configuration.engine,
        setup=Setup(precision=precision, deepspeed=configuration.text),
        untried=untried,
    )


def asked_for(fields: Fields, launch: Launch) -> Configuration:
    """What a job names under ``deepspeed``: a path from the current folder on, an object, or an object as text.

    Without any, it is what the configuration of accelerate says.

    Raises:
        UsageFault: There is no such file, or no configuration in it.
    """
    if not fields.asks_for("deepspeed"):
        given = launch.deepspeed if launch.kind == DEEPSPEED else None
        if not given:
            return Configuration()
        fields = Fields(launch.source, {"deepspeed": given})
    value = fields.values["deepspeed"]
    if isinstance(value, Mapping) or (isinstance(value, str) and value.startswith("{")):
        section = fields.section("deepspeed")
        return configured(Fields(fields.source, section.values, "deepspeed."))
    if not isinstance(value, str) or len(value) > LONGEST_PATH or not value.isprintable():
        raise fields.fault("deepspeed", f"the path of {KIND}")
    if "${" in value:
        raise UsageFault(
            f"`deepspeed` in {fields.source} holds an interpolation, which no trainer resolves.", "write the path out"
        )
    try:
        return configured(Fields(value, files.load_json(value, KIND)))
    except UsageFault as fault:
        raise UsageFault(f"`deepspeed` in {fields.source}: {fault.message}", fault.hint) from fault


def configured(fields: Fields) -> Configuration:
    """What a configuration asks for."""
    zero = _zero(fields)
    fields, renamed = _by_new_name(fields)
    stage = zero.whole("stage")
    if stage not in STAGES:
        raise zero.fault("stage", "0, 1, 2 or 3")
    enabled = {name: _enabled(fields, name) for name in ("bf16", "fp16")}
    if enabled["bf16"] and enabled["fp16"]:
        raise UsageFault(f"{fields.source} enables both bf16 and fp16.", "enable one of them")
    sections = [fields.sentence(name, reason) for name, reason in UNTRIED.items() if _is_on(fields, name)]
    kept = {name: fields.values[name] for name in KEPT if name in fields.values}
    kept["zero_optimization"] = {"stage": stage, **_tried(zero)}
    try:
        text = json.dumps(kept, separators=(",", ":"))
    except (TypeError, ValueError) as error:  # YAML has values that JSON has not
        raise UsageFault(
            f"{fields.source} has a value for DeepSpeed that JSON does not know.", "write plain values"
        ) from error
    return Configuration(f"zero{stage}", text, enabled, [*renamed, *sections, *_parallel(fields), *_zero_untried(zero)])


def precision_of(
    configuration: Configuration, wanted: Precision, is_alone: bool = False
) -> tuple[Precision, list[str]]:
    """The precision of a job, from its own settings and from its configuration of DeepSpeed, and what is to say of it."""
    if configuration.engine == "none":
        return wanted, []
    names: tuple[Precision, Precision] = ("bf16", "fp16")
    precision = next((name for name in names if configuration.enabled[name]), wanted)
    left = [f"`{name}.enabled`" for name in names if configuration.enabled[name] is None]
    if is_alone:
        why = "auto leaves it to the trainer; it is not enabled here."
        return precision, [f"{', '.join(left)}: {why}"] if left else []
    why = "the DeepSpeed configuration and the job disagree, and trainers reject that."
    apart = [name for name, enabled in configuration.enabled.items() if enabled not in (None, wanted == name)]
    return precision, [f"`{name}.enabled`: {why}" for name in apart]


def _by_new_name(fields: Fields) -> tuple[Fields, list[str]]:
    """A configuration that says ``bfloat16`` for ``bf16``, as DeepSpeed once did and still reads."""
    if "bfloat16" not in fields.values or "bf16" in fields.values:
        return fields, []
    said = fields.sentence("bfloat16", "DeepSpeed's old name of `bf16`; transformers' Trainer does not read it.")
    return fields.replaced("bf16", fields.values["bfloat16"]), [said]


def _zero(fields: Fields) -> Fields:
    value = fields.values.get("zero_optimization")
    if isinstance(value, bool):  # how it was written before there were stages
        fields = fields.replaced("zero_optimization", {"stage": int(value)})
    return fields.section("zero_optimization")


def _enabled(fields: Fields, name: str) -> bool | None:
    section = fields.section(name)
    value = section.switch("enabled", ("auto",))
    return None if value == "auto" else bool(value)


def _is_on(fields: Fields, name: str) -> bool:
    value = fields.values.get(name)
    if not isinstance(value, Mapping):
        return bool(value)
    is_off = value.get("enabled") is False or value.get("disable") is True or value.get("deepcompile") is False
    return bool(value) and not is_off


def _parallel(fields: Fields) -> list[str]:
    tensor = fields.section("tensor_parallel").beyond_one({"autotp_size": "tensor parallelism."})
    return [*tensor, *fields.beyond_one({"sequence_parallel_size": "sequence parallelism."})]


def _is_unusual(zero: Fields, name: str) -> bool:
    return zero.asks_for(name) and zero.values[name] != USUAL.get(name)


def _is_on_disk(value: Any) -> bool:
    return isinstance(value, Mapping) and value.get("device") == "nvme"


OFFLOADS = ("offload_optimizer", "offload_param")


def _zero_untried(zero: Fields) -> list[str]:
    found = [zero.sentence(name, reason) for name, reason in ZERO_UNTRIED.items() if _is_unusual(zero, name)]
    for name in OFFLOADS:
        zero.section(name).choice("device", ("none", "cpu", "nvme"), "none")
        if _is_on_disk(zero.values.get(name)):
            found.append(zero.sentence(name, "offloading to NVMe; it is tried without offloading."))
    return found


def _tried(zero: Fields) -> dict[str, Any]:
    """ZeRO's settings without those that are not tried, which would fail for reasons of their own."""
    return {
        name: value
        for name, value in zero.values.items()
        if name not in ZERO_UNTRIED and not (name in OFFLOADS and _is_on_disk(value))
    }


FORMAT = Format(
    name=DEEPSPEED,
    title="DeepSpeed",
    read=read,
    own=frozenset(
        {
            "zero_optimization",
            "train_micro_batch_size_per_gpu",
            "zero_allow_untested_optimizer",
            "zero_force_ds_cpu_optimizer",
        }
    ),
    sections=frozenset({"bf16", "fp16", "bfloat16"}),
    names_model=False,
    takes=lambda is_json, releases: is_json,
)
