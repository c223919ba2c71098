"""A job of verl's: what Hydra's overrides, or a file with all sections, say of the model that is trained."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ckptdoctor.errors import UsageFault
from ckptdoctor.job import models
from ckptdoctor.job.fields import Fields
from ckptdoctor.job.format import Format
from ckptdoctor.job.formats.deepspeed import Precision
from ckptdoctor.job.job import Job
from ckptdoctor.job.launch import Launch
from ckptdoctor.job.releases import NON_REENTRANT, Releases
from ckptdoctor.model.evidence import Setup

VERL = "verl"

STRATEGIES = {"fsdp": "fsdp1", "fsdp2": "fsdp2"}
UNJUDGED = {
    "megatron": "Megatron trains the model with its own checkpointing, which is not judged.",
    "veomni": "VeOmni trains the model, which is not judged.",
}

PRECISIONS: dict[str, Precision] = {
    **dict.fromkeys(("bf16", "bfloat16"), "bf16"),
    **dict.fromkeys(("fp16", "float16", "half"), "fp16"),
    **dict.fromkeys(("fp32", "float32", "float"), "fp32"),
}

OF_MODEL = {
    "use_liger": "Liger's kernels in the layers.",
    "use_fused_kernels": "fused kernels in the layers.",
    "lora_adapter_path": "the adapter's configuration is not read; a new adapter with the job's settings is tried.",
    "exclude_modules": "modules that get no adapter; they get one.",
    "use_prefix_grouper": "attention in which sequences share a prefix.",
}

OF_FSDP = {
    "param_offload": "parameters that are moved to the CPU between steps.",
    "offload_policy": "FSDP keeps parameters on the CPU; they are tried where they are.",
    "offload_params": "FSDP keeps parameters on the CPU; they are tried where they are.",
}

_FUSED = "the layers' inputs are moved to the CPU, with recomputation of verl's own, which is not judged."


def read(fields: Fields, releases: Releases, choice: models.Choice, launch: Launch) -> Job:
    """Read a job of verl's. Of the models that it trains, the actor is tried."""
    parts = _parts(fields.leniently())
    of_model = parts.model
    key = "partial_pretrain" if of_model.says("partial_pretrain") else "path"
    model = models.find(choice, of_model.text(key), key=key)
    strategy = _strategy(fields, parts)
    is_on = of_model.flag("enable_gradient_checkpointing", default=True)
    rank = of_model.whole("lora_rank") or of_model.section("lora").leniently().whole("rank")
    precision = _precision(parts)
    functions = [NON_REENTRANT] if is_on else []
    unjudged = [UNJUDGED[strategy]] if strategy in UNJUDGED else []
    if of_model.flag("enable_activation_offload") and strategy in STRATEGIES:
        unjudged.append(of_model.sentence("enable_activation_offload", _FUSED))
    engine = STRATEGIES.get(strategy, "none")
    engine += "-fp32" if engine != "none" and precision == "fp32" else ""
    setup = Setup(
        "lora" if rank else "full",
        _targets(of_model) if rank else (),
        precision=precision,
        reentrant=False,
        inputs_require_grad=True,
    )
    return Job(
        fields.source,
        VERL,
        model.folder,
        model.name,
        model.kind,
        functions,
        engine,
        is_on,
        setup,
        [*model.untried, *_untried(fields, parts)],
        unjudged,
        how=model.how,
        doubt=model.doubt,
    )


class _Parts(NamedTuple):
    """The sections that say something of the trained model."""

    model: Fields
    trainer: Fields
    fsdp: Fields
    is_sft: bool


def _parts(fields: Fields) -> _Parts:
    """Where a job has them: under the actor, or for supervised fine-tuning at the top."""
    if fields.says("actor_rollout_ref") or "sft" not in fields.text("config_name"):
        actor = fields.section("actor_rollout_ref").leniently()
        trainer = actor.section("actor").leniently()
        return _Parts(
            actor.section("model").leniently(), trainer, trainer.section("fsdp_config").leniently(), is_sft=False
        )
    of_model = fields.section("model").leniently()
    is_new = isinstance(fields.values.get("engine"), Mapping)
    engine = fields.section("engine").leniently() if is_new else of_model
    return _Parts(of_model, engine, engine if is_new else of_model.section("fsdp_config").leniently(), is_sft=True)


def _strategy(fields: Fields, parts: _Parts) -> str:
    """What trains the model; a configuration or an engine that is named decides where no strategy is said."""
    named = [
        fields.values.get(name) for name in ("config_name", "engine", "model_engine", "actor@actor_rollout_ref.actor")
    ]
    said = parts.trainer.text("strategy")
    for backend in UNJUDGED:
        if said == backend or (not said and any(isinstance(one, str) and backend in one for one in named)):
            return backend
    default = "fsdp2" if parts.is_sft and not isinstance(fields.values.get("engine"), Mapping) else "fsdp"
    if said and said not in STRATEGIES:
        raise UsageFault(f"`strategy` in {fields.source} is no strategy of verl's.", "make it fsdp, fsdp2 or megatron")
    return said or default


def _precision(parts: _Parts) -> Precision:
    """Of the parameters in forward and backward."""
    mixed: Any = parts.fsdp.values.get("mixed_precision")
    said = mixed.get("param_dtype") if isinstance(mixed, Mapping) else parts.fsdp.values.get("dtype")
    return PRECISIONS.get(str(said or "bf16").lower(), "bf16")


def _targets(of_model: Fields) -> tuple[str, ...]:
    value = of_model.values.get("target_modules")
    if isinstance(value, str):
        return () if value == "all-linear" else tuple(value.strip("[]").split(","))
    return of_model.names("target_modules")


def _untried(fields: Fields, parts: _Parts) -> list[str]:
    found = [*parts.model.untried(OF_MODEL), *parts.fsdp.untried(OF_FSDP)]
    if parts.model.section("tiled_mlp").leniently().asks_for("enabled"):
        found.append(
            parts.model.sentence("tiled_mlp", "layers that run their MLP in tiles, with recomputation of their own.")
        )
    padding = parts.model if not parts.is_sft or parts.model.says("use_remove_padding") else fields
    if padding.flag("use_remove_padding", default=not parts.is_sft):
        found.append(padding.sentence("use_remove_padding", "packed sequences with attention of their own."))
    size = {"ulysses_sequence_parallel_size": "sequence parallelism."}
    for place in (parts.trainer, parts.fsdp, fields):
        found += place.beyond_one(size)
    if not parts.is_sft:
        found.append(
            "Reinforcement learning's loss is not tried, and neither is the critic; the usual loss of the actor is."
        )
    return list(dict.fromkeys(found))


FORMAT = Format(
    name=VERL,
    title="verl",
    read=read,
    own=frozenset({"actor_rollout_ref"}),
)
