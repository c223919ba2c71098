"""What starts a job's processes, and how that wraps the model: accelerate's configuration, or a launcher's options."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ckptdoctor.errors import UsageFault
from ckptdoctor.job.fields import Fields
from ckptdoctor.job.trainer_arguments import unknown
from ckptdoctor.model.evidence import Environment

Kind = Literal["", "one", "ddp", "fsdp", "deepspeed"]

MARK = "distributed_type"
"""The key that every configuration of accelerate has."""

TITLE = "a configuration of accelerate"

FSDP_CHECKPOINTING = "activation_checkpointing"

KINDS: dict[str, Kind] = {
    "NO": "one",
    "MULTI_GPU": "ddp",
    "MULTI_CPU": "ddp",
    "MULTI_NPU": "ddp",
    "MULTI_XPU": "ddp",
    "MULTI_MLU": "ddp",
    "MULTI_MUSA": "ddp",
    "MULTI_SDAA": "ddp",
    "MULTI_HPU": "ddp",
    "FSDP": "fsdp",
    "DEEPSPEED": "deepspeed",
}
"""What each of accelerate's types of training does to the model."""

UNJUDGED = {
    "MEGATRON_LM": "Megatron trains the model with its own checkpointing, which is not judged.",
    "XLA": "XLA runs the job on TPUs, which is not judged.",
    "TPU": "XLA runs the job on TPUs, which is not judged.",
}

UNTRIED = {
    "fp8_config": "matrices in 8 bits.",
    "parallelism_config": "tensor, context or sequence parallelism.",
    "use_parallelism_config": "tensor, context or sequence parallelism.",
}

PRECISIONS = ("no", "fp16", "bf16", "fp8")


@dataclass(frozen=True)
class Sharding:
    """FSDP as a job asks for it.

    Attributes:
        version: 1 or 2.
        is_checkpointed: FSDP's own activation checkpointing is on.
        is_there: Something switches FSDP itself on.
        checkpointing_key: What the job calls that setting.
        untried: A sentence for each thing that is not tried.
    """

    version: int = 1
    is_checkpointed: bool = False
    is_there: bool = True
    checkpointing_key: str = ""
    untried: tuple[str, ...] = ()


@dataclass(frozen=True)
class Launch:
    """How a job's processes are started.

    Attributes:
        source: The file or the command that says so; empty where nothing does.
        kind: What wraps the model by that; empty where nothing is said.
        sharding: FSDP's settings.
        deepspeed: DeepSpeed's configuration: an object, or the path of one.
        precision: Mixed precision, for jobs that ask for none themselves.
        is_compiled: The launcher asks for ``torch.compile``.
        variables: Environment variables that the command sets.
        keys: The names of the settings in accelerate's configuration.
        untried: A sentence for each thing that is not tried.
        unjudged: Why the job's checkpointing cannot be judged.
    """

    source: str = ""
    kind: Kind = ""
    sharding: Sharding = Sharding()
    deepspeed: Mapping[str, Any] | str | None = None
    precision: str = ""
    is_compiled: bool = False
    variables: Mapping[str, str] = field(default_factory=dict)
    keys: tuple[str, ...] = ()
    untried: tuple[str, ...] = ()
    unjudged: tuple[str, ...] = ()

    def over(self, other: Launch) -> Launch:
        """This launch, with what it leaves open taken from another: a command's options go before a file's."""
        return replace(
            other if not self.kind else self,
            source=" and ".join(dict.fromkeys(filter(None, (self.source, other.source)))),
            precision=self.precision or other.precision,
            is_compiled=self.is_compiled or other.is_compiled,
            variables={**other.variables, **self.variables},
            keys=(*self.keys, *other.keys),
            untried=(*self.untried, *other.untried),
            unjudged=(*self.unjudged, *other.unjudged),
        )


def read(fields: Fields) -> Launch:
    """Read a configuration of accelerate."""
    fields = fields.leniently()
    name = fields.text(MARK).upper().rpartition(".")[2]
    if name not in KINDS and name not in UNJUDGED:
        raise fields.fault(MARK, f"one of accelerate's types, such as {', '.join(list(KINDS)[:2])} or FSDP")
    kind = KINDS.get(name, "")
    if kind == "ddp" and fields.says("num_processes") and fields.whole("num_processes") < 2:
        kind = "one"
    unjudged = (fields.sentence(MARK, UNJUDGED[name]),) if name in UNJUDGED else ()
    dynamo = fields.section("dynamo_config") if isinstance(fields.values.get("dynamo_config"), Mapping) else fields
    backends = [dynamo.values.get(key) for key in ("dynamo_backend", "backend")]
    return Launch(
        source=fields.source,
        kind=kind,
        sharding=sharding(fields.section("fsdp_config")) if kind == "fsdp" else Sharding(),
        deepspeed=_deepspeed(fields.section("deepspeed_config").leniently()) if kind == "deepspeed" else None,
        precision=str(fields.switch("mixed_precision", PRECISIONS, "no") or "no"),
        is_compiled=any(isinstance(one, str) and one.lower() != "no" for one in backends),
        keys=tuple(fields.values),
        untried=tuple(fields.untried(UNTRIED)),
        unjudged=unjudged,
    )


def refused(keys: Iterable[str], environment: Environment) -> list[str]:
    """Keys of a configuration that the installed accelerate does not know, and refuses."""
    old = ("fp16", "dynamo_backend", "downcast_bf16")
    return unknown(keys, environment, {"accelerate": ("commands/config/config_args.py",)}, old) if keys else []


def sharding(section: Fields, default: int = 1, reads_version: bool = True) -> Sharding:
    """FSDP's settings, with or without the prefix ``fsdp_``.

    Args:
        section: The settings.
        default: FSDP's version where they say none.
        reads_version: Whether what reads them takes the version from them.

    Raises:
        UsageFault: There is no such version of FSDP.
    """
    section = section.without_prefix("fsdp_").leniently()
    version = section.whole("version", default) if reads_version else default
    if version not in (1, 2):
        raise section.fault("version", "1 or 2")
    keys = [key for key in (FSDP_CHECKPOINTING, "xla_fsdp_grad_ckpt") if section.asks_for(key)]
    untried = section.untried(
        {
            "offload_params": "FSDP keeps parameters on the CPU; they are tried where they are.",
            "cpu_offload": "FSDP keeps parameters on the CPU; they are tried where they are.",
            "xla": "XLA's FSDP.",
        }
    )
    key = section.sentence_of(keys[:1], "").partition(":")[0]
    return Sharding(version, bool(keys), checkpointing_key=key, untried=tuple(untried))


def _deepspeed(section: Fields) -> Mapping[str, Any] | str:
    """What accelerate makes of its own few settings of DeepSpeed; a file of DeepSpeed's goes before them."""
    if file := section.text("deepspeed_config_file"):
        return file
    zero: dict[str, Any] = {"stage": section.whole("zero_stage", 2)}
    for name in ("optimizer", "param"):
        device = section.text(f"offload_{name}_device")
        if device not in ("", "none"):
            zero[f"offload_{name}"] = {"device": device}
    return {"zero_optimization": zero, "bf16": {"enabled": "auto"}, "fp16": {"enabled": "auto"}}


def require_job(launch: Launch) -> UsageFault:
    """The fault of a configuration of accelerate without a job."""
    return UsageFault(
        f"{launch.source} is {TITLE}: it names no job.", f"add the job: --job train.yaml --job {launch.source}"
    )
