"""A job of LLaMA-Factory's, read as ``llamafactory-cli train`` reads it."""

from __future__ import annotations

import os
from typing import Literal, NamedTuple

from ckptdoctor.job import models
from ckptdoctor.job.families import Hints
from ckptdoctor.job.fields import Fields
from ckptdoctor.job.format import Format
from ckptdoctor.job.formats import deepspeed, training_arguments
from ckptdoctor.job.formats.deepspeed import Precision
from ckptdoctor.job.formats.llamafactory_untried import BEYOND_ONE, FREEZE_UNTRIED, LORA_UNTRIED, UNTRIED
from ckptdoctor.job.job import Job
from ckptdoctor.job.launch import Launch
from ckptdoctor.job.releases import Releases
from ckptdoctor.job.trainer_arguments import refused
from ckptdoctor.job.wrapping import wrapped
from ckptdoctor.model.evidence import Setup

LLAMAFACTORY = "llamafactory"

STAGES = ("pt", "sft", "rm", "ppo", "dpo", "kto")
TUNINGS = ("lora", "oft", "freeze", "full")

UNCHECKPOINTED_MODELS = ("gemma3n",)
"""Families for which it switches checkpointing off, whatever the job says."""

MEGATRON = (
    "use_mca",
    "use_megatron_bridge",
    "tensor_model_parallel_size",
    "pipeline_model_parallel_size",
    "virtual_pipeline_model_parallel_size",
    "expert_model_parallel_size",
    "context_parallel_size",
    "sequence_parallel",
    "recompute_granularity",
    "recompute_method",
    "recompute_num_layers",
    "use_distributed_optimizer",
    "overlap_param_gather",
    "overlap_grad_reduce",
    "bias_activation_fusion",
    "apply_rope_fusion",
    "masked_softmax_fusion",
    "moe_grouped_gemm",
    "moe_token_dispatcher_type",
)
"""Arguments that LLaMA-Factory takes with Megatron's backends alone."""

BY_ENVIRONMENT = {
    "USE_MCA": "Megatron trains the model with its own checkpointing, which is not judged.",
    "USE_MEGATRON_BRIDGE": "Megatron trains the model with its own checkpointing, which is not judged.",
    "USE_V1": "LLaMA-Factory's v1 trainer runs the job, which is not judged.",
}
"""Variables that make it another trainer."""

STAGE_REASONS = {
    "rm": "a reward model's loss and value head; the usual loss is tried.",
    "ppo": "PPO's loss and value head; the usual loss is tried.",
    "dpo": "a loss on pairs of answers, with a reference model; the usual loss is tried.",
    "kto": "a loss on judged answers, with a reference model; the usual loss is tried.",
}


def read(fields: Fields, releases: Releases, choice: models.Choice, launch: Launch) -> Job:
    """Read a job of LLaMA-Factory's."""
    fields.choice("stage", STAGES, "sft")
    tuning = _tuning(fields)
    model = models.find(
        choice,
        fields.text("model_name_or_path"),
        fields.text("model_revision"),
        fields.text("cache_dir"),
        _is_enabled("USE_MODELSCOPE_HUB", launch),
        "model_name_or_path",
        Hints(targets=tuning.lora_targets, trainer=LLAMAFACTORY, template=fields.text("template")),
    )
    configuration = deepspeed.asked_for(fields, launch)
    precision, remarks = deepspeed.precision_of(configuration, _precision(fields, launch))
    sharded = training_arguments.sharding_of(fields, releases, launch)
    checkpointing = _checkpointing(fields, model.kind, releases, launch)
    wrapping = wrapped(
        _with_its_default(fields), launch, configuration, sharded, precision, bool(checkpointing.functions)
    )
    untried = [
        *checkpointing.untried,
        *model.untried,
        *tuning.untried,
        *configuration.untried,
        *remarks,
        *wrapping.untried,
        *training_arguments.both_on(wrapping, training_arguments.checkpointing(fields)[0]),
        *_weights(fields, precision, tuning),
        *_untried(fields),
    ]
    setup = Setup(
        tuning.tuning,
        tuning.lora_targets,
        tuning.trainable_layers,
        precision,
        checkpointing.reentrant,
        configuration.text,
        trainer_switches_on=checkpointing.trainer_switches_on,
        trainers_reentrant=checkpointing.trainers_reentrant,
        inputs_require_grad=True,
        frozen_towers=fields.flag("freeze_vision_tower", True),
    )
    functions = checkpointing.functions if fields.flag("do_train") else []
    return wrapping.job(fields, LLAMAFACTORY, model, functions, setup, untried, _unjudged(fields, launch))


class _Checkpointing(NamedTuple):
    functions: list[str]
    reentrant: bool | None = None
    untried: tuple[str, ...] = ()
    trainer_switches_on: bool = False
    trainers_reentrant: bool | None = None


def _checkpointing(fields: Fields, family: str, releases: Releases, launch: Launch) -> _Checkpointing:
    """What it switches on itself, and what transformers' Trainer switches on after it."""
    is_own = not fields.flag("disable_gradient_checkpointing") and family not in UNCHECKPOINTED_MODELS
    reentrant = fields.flag("use_reentrant_gc") if fields.says("use_reentrant_gc") else None
    if (
        launch.kind == "fsdp"
        and launch.sharding.version == 2
        and releases.is_from(LLAMAFACTORY, KNOWS_FSDP2) is not False
    ):
        reentrant = False
    own = "llamafactory:unsloth" if fields.flag("use_unsloth_gc") else "llamafactory"
    is_trainers, trainers_reentrant, untried = training_arguments.checkpointing(fields)
    if not fields.flag("do_train"):
        return _Checkpointing([], None, ("`do_train`: the job does not train, so nothing is checkpointed.",))
    if not is_own:
        if not is_trainers:
            return _Checkpointing([], trainers_reentrant, tuple(untried))
        functions, by_release = training_arguments.functions(fields, trainers_reentrant, releases)
        return _Checkpointing(functions, by_release, tuple(untried))
    if not is_trainers:
        return _Checkpointing([own], reentrant)
    # Trainer calls the same method again, with its own arguments.
    untried += training_arguments.arguments(fields).untried(
        {"offload": "inputs for recomputation that move to the CPU."}
    )
    return _Checkpointing([own], reentrant, tuple(untried), True, trainers_reentrant)


class _Tuning(NamedTuple):
    tuning: Literal["full", "lora", "freeze"]
    lora_targets: tuple[str, ...] = ()
    trainable_layers: int = 0
    untried: tuple[str, ...] = ()


def _tuning(fields: Fields) -> _Tuning:
    kind = fields.choice("finetuning_type", TUNINGS, "lora")
    if kind == "full":
        return _Tuning("full")
    if kind == "freeze":
        return _freeze(fields)
    adapter = _adapter(fields)
    asked = fields.names("oft_target" if kind == "oft" else "lora_target")
    targets = () if asked == ("all",) else asked
    oft = [fields.sentence("finetuning_type", "OFT; LoRA on the same modules is tried.")] if kind == "oft" else []
    untried = (*oft, *adapter.untried, *fields.untried(LORA_UNTRIED))
    return _Tuning("lora", targets if adapter.targets is None else adapter.targets, 0, untried)


def _freeze(fields: Fields) -> _Tuning:
    untried = fields.untried(FREEZE_UNTRIED)
    if fields.names("freeze_trainable_modules") not in ((), ("all",)):
        reason = "some modules of the layers are trained; the layers are trained whole."
        untried.append(fields.sentence("freeze_trainable_modules", reason))
    return _Tuning("freeze", (), fields.whole("freeze_trainable_layers", 2), tuple(untried))


def _adapter(fields: Fields) -> models.Adapter:
    """The adapter that the job goes on with: the last of those that it names, unless it makes a new one."""
    names = fields.names("adapter_name_or_path")
    if not names or fields.flag("create_new_adapter"):
        return models.Adapter()
    revision, cache, folder = (fields.text(name) for name in ("model_revision", "cache_dir", "adapter_folder"))
    return models.find_adapter(names[-1], "adapter_name_or_path", revision, cache, folder)


def _with_its_default(fields: Fields) -> Fields:
    """Whether DDP looks for unused parameters where the job does not say it.

    LLaMA-Factory says no beside LoRA. For all else Trainer decides: it looks for them in a model that is no
    ``PreTrainedModel``, such as PEFT's around OFT, or the one with a value head that a reward model is trained in.
    """
    if fields.says("ddp_find_unused_parameters"):
        return fields
    tuning = fields.choice("finetuning_type", TUNINGS, "lora")
    if tuning == "lora":
        return fields.replaced("ddp_find_unused_parameters", False)
    is_wrapped = tuning == "oft" or fields.choice("stage", STAGES, "sft") == "rm"
    return fields.replaced("ddp_find_unused_parameters", True) if is_wrapped else fields


def _precision(fields: Fields, launch: Launch) -> Precision:
    asked = training_arguments.precision_of(fields, launch)
    return "bf16" if fields.flag("pure_bf16") else asked


def _weights(fields: Fields, precision: Precision, tuning: _Tuning) -> list[str]:
    """Without mixed precision it leaves frozen weights as they were saved, and trains in float32."""
    if precision != "fp32" or tuning.tuning == "full":
        return []
    return ["Neither `bf16` nor `fp16` is set: frozen weights stay in the model's own precision; float32 is tried."]


def _untried(fields: Fields) -> list[str]:
    stage = fields.choice("stage", STAGES, "sft")
    found = [fields.sentence("stage", STAGE_REASONS[stage])] if stage in STAGE_REASONS else []
    if fields.values.get("flash_attn") not in (None, False, "auto", "disabled", "sdpa"):
        found.append(fields.sentence("flash_attn", "flash-attention's kernels; the model's usual attention is tried."))
    return [*found, *fields.untried(UNTRIED), *fields.beyond_one(BEYOND_ONE), *training_arguments.shared(fields)]


def _unjudged(fields: Fields, launch: Launch) -> list[str]:
    """Why the job's checkpointing cannot be judged: another backend trains the model, without the function that is tried."""
    megatron = [name for name in MEGATRON if fields.says(name)]
    reason = "Megatron trains the model with its own checkpointing, which is not judged."
    found = [fields.sentence_of(megatron, reason)] if megatron else []
    if fields.flag("use_unsloth"):
        found.append(
            fields.sentence("use_unsloth", "unsloth's model checkpoints its layers itself, which is not judged.")
        )
    if fields.asks_for("use_kt"):
        found.append(
            fields.sentence("use_kt", "KTransformers runs the experts and their recomputation, which is not judged.")
        )
    by_environment = [f"`{name}`: {reason}" for name, reason in BY_ENVIRONMENT.items() if _is_enabled(name, launch)]
    return [*found, *by_environment]


def _is_enabled(variable: str, launch: Launch) -> bool:
    value = launch.variables.get(variable, os.environ.get(variable, "0"))
    return value.lower() in ("true", "y", "1")


KNOWS_FSDP2 = "0.9.4"
"""The release of LLaMA-Factory from which on it is never reentrant under an FSDP2 that accelerate's configuration asks for."""


OMEGACONF = "0.9.4"
"""The release from which on LLaMA-Factory loads YAML with OmegaConf, which takes tabs."""

FORMAT = Format(
    name=LLAMAFACTORY,
    title="LLaMA-Factory",
    read=read,
    own=frozenset(
        {
            "finetuning_type",
            "lora_target",
            "cutoff_len",
            "dataset_dir",
            "disable_gradient_checkpointing",
            "use_reentrant_gc",
            "use_unsloth_gc",
            "freeze_trainable_layers",
            "freeze_trainable_modules",
            "freeze_extra_modules",
            "pure_bf16",
            "neat_packing",
            "enable_liger_kernel",
            "export_dir",
            "upcast_layernorm",
        }
    ),
    model=("model_name_or_path",),
    beside_model=frozenset({"stage", "template"}),
    takes=lambda is_json, releases: not is_json and releases.is_from(LLAMAFACTORY, OMEGACONF) is not False,
    looks_for_unused=lambda fields: _with_its_default(fields).flag("ddp_find_unused_parameters"),
    leaves_unused=lambda fields: fields.choice("stage", STAGES, "sft") == "rm",
    refused=refused,
)
