"""A job of ms-swift's, read as ``swift sft``, ``swift pt`` and ``swift rlhf`` read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from ckptdoctor import catalog
from ckptdoctor.job import arguments, files, models
from ckptdoctor.job.fields import Fields
from ckptdoctor.job.format import Format
from ckptdoctor.job.formats import deepspeed, training_arguments
from ckptdoctor.job.formats.deepspeed import Precision
from ckptdoctor.job.job import Job
from ckptdoctor.job.launch import Launch, Sharding, sharding
from ckptdoctor.job.releases import NON_REENTRANT, REENTRANT, Releases
from ckptdoctor.job.trainer_arguments import unknown
from ckptdoctor.job.wrapping import wrapped
from ckptdoctor.model.evidence import Setup

SWIFT, PACKAGE = "swift", "ms-swift"

_STAGES = {f"zero{stage}": {"stage": stage} for stage in range(4)}
_CPU = {"device": "cpu"}
DEEPSPEEDS: dict[str, dict[str, Any]] = {
    **_STAGES,
    "zero2_offload": {"stage": 2, "offload_optimizer": _CPU},
    "zero3_offload": {"stage": 3, "offload_optimizer": _CPU, "offload_param": _CPU},
}
"""Configurations of DeepSpeed that it ships, under the names that it takes: what they ask of ZeRO."""

FSDPS = {"fsdp2": {"fsdp_config": {"fsdp_version": 2, "activation_checkpointing": True}}}
"""Those of FSDP."""

LORAS = ("lora", "longlora", "lora_llm")
OTHER_TUNERS = "a tuner of another kind than LoRA; all of the model is trained."

QUANTIZED = "quantized weights; plain ones are tried."
OTHER_LOSS = "another loss, usually with a reference model; the usual loss is tried."
PACKED = "packed sequences with attention of their own."
FROZEN = "parts of the model that stay frozen; they are trained."

UNTRIED = {
    "quant_bits": QUANTIZED,
    "quant_method": QUANTIZED,
    "packing": PACKED,
    "padding_free": PACKED,
    "rlhf_type": OTHER_LOSS,
    "use_galore": "GaLore, which projects gradients.",
    "lisa_activated_layers": "LISA, which trains some layers at a time; all are trained at once.",
    "freeze_parameters": FROZEN,
    "freeze_parameters_regex": FROZEN,
    "freeze_parameters_ratio": FROZEN,
    "freeze_llm": FROZEN,
    "trainable_parameters": FROZEN,
    "trainable_parameters_regex": FROZEN,
    "use_ray": "several processes under Ray.",
    "device_map": "a model that is spread over several GPUs by layers.",
    "experts_impl": "another implementation of the experts.",
    "enable_npu_model_patch": "patches for Ascend's processors.",
    "use_vllm": "generation between training steps.",
}

LORA_UNTRIED = {
    "use_dora": "DoRA; plain LoRA is tried.",
    "use_rslora": "rank-stabilized LoRA; plain LoRA is tried.",
    "modules_to_save": "modules that are also trained whole; they stay frozen.",
    "target_parameters": "an adapter that also covers bare parameters; they get no adapter.",
    "target_regex": "a pattern of modules; every linear layer gets an adapter.",
    "lora_dtype": "an adapter in a precision of its own.",
    "lora_dropout": "dropout in the adapter; the adapter is tried without dropout.",
}

MEGATRON = "Megatron trains the model with its own checkpointing, which is not judged."
MEGATRONS = (
    "tensor_model_parallel_size",
    "pipeline_model_parallel_size",
    "expert_model_parallel_size",
    "recompute_granularity",
    "recompute_method",
    "recompute_num_layers",
    "global_batch_size",
    "train_iters",
    "mcore_model",
    "moe_grouped_gemm",
)
"""Arguments of its Megatron commands alone."""

FILES = {
    PACKAGE: ("arguments/**/*.py", "llm/argument/**/*.py", "trainers/arguments.py", "megatron/arguments/*.py"),
    "transformers": ("training_args.py", "training_args_seq2seq.py"),
}


def read(fields: Fields, releases: Releases, choice: models.Choice, launch: Launch) -> Job:
    """Read a job of ms-swift's. It makes texts of all values, so that ``"true"`` is true for it."""
    fields = _with_files(fields.leniently())
    is_modelscope = not fields.flag("use_hf")
    model = models.find(choice, fields.text("model"), fields.text("model_revision"), "", is_modelscope, "model")
    tuning = _tuning(fields)
    configuration = deepspeed.asked_for(fields, launch)
    wanted, remarks = _precision(fields, launch)
    precision, more = deepspeed.precision_of(configuration, wanted)
    sharded = _sharding(fields)
    is_on = fields.flag("gradient_checkpointing", default=True) and not (sharded and sharded.is_checkpointed)
    wrapping = wrapped(fields, launch, configuration, sharded, precision, is_on)
    reentrant, untried = _reentrant(fields, is_ddp=wrapping.engine.startswith("ddp"))
    untried = [*untried, *model.untried, *tuning.untried, *configuration.untried, *remarks, *more, *wrapping.untried]
    setup = Setup(tuning.tuning, tuning.targets, 0, precision, reentrant, configuration.text, inputs_require_grad=True)
    functions = _functions(reentrant) if is_on else []
    untried += [*_untried(fields), *training_arguments.shared(fields)]
    return wrapping.job(fields, SWIFT, model, functions, setup, untried, _unjudged(fields))


def read_megatron(fields: Fields, releases: Releases, choice: models.Choice, launch: Launch) -> Job:
    """Read a job of its Megatron commands, of which nothing can be judged."""
    fields = fields.leniently()
    named = fields.text("model") or fields.text("mcore_model") or fields.text("load")
    model = models.find(choice, named, fields.text("model_revision"), "", not fields.flag("use_hf"), "model")
    return Job(fields.source, "swift-megatron", model.folder, model.name, model.kind, unjudged=[MEGATRON])


def _with_files(fields: Fields) -> Fields:
    """The settings with the configurations that a name stands for."""
    name = fields.values.get("deepspeed")
    if isinstance(name, str) and name in DEEPSPEEDS:
        fields = fields.replaced("deepspeed", {"zero_optimization": DEEPSPEEDS[name], **_AUTO})
    if fields.asks_for("deepspeed_autotp_size") and isinstance(fields.values.get("deepspeed"), Mapping):
        size = fields.whole("deepspeed_autotp_size")
        fields = fields.replaced("deepspeed", {**fields.values["deepspeed"], "tensor_parallel": {"autotp_size": size}})
    return fields


_AUTO = {"bf16": {"enabled": "auto"}, "fp16": {"enabled": "auto"}}


def _sharding(fields: Fields) -> Sharding | None:
    """``fsdp``: a name of its own, the path of a file, or an object."""
    value = arguments.as_object(fields.values.get("fsdp"))
    if not value:
        return None
    if isinstance(value, str) and value not in FSDPS:
        value = files.load_json(value, "a configuration of FSDP") if value.endswith(".json") else {}
    made = FSDPS[value] if isinstance(value, str) else value
    section = Fields(fields.source, made if isinstance(made, Mapping) else {}, "fsdp.").section("fsdp_config")
    return sharding(section, 2)


class _Tuning(NamedTuple):
    tuning: Literal["full", "lora"]
    targets: tuple[str, ...] = ()
    untried: tuple[str, ...] = ()


def _tuning(fields: Fields) -> _Tuning:
    key = next((name for name in ("tuner_type", "train_type") if fields.says(name)), "tuner_type")
    kind = fields.text(key) or "lora"
    if kind == "full":
        return _Tuning("full")
    if kind not in LORAS:
        return _Tuning("full", (), (fields.sentence(key, OTHER_TUNERS),))
    untried = fields.untried(LORA_UNTRIED)
    if kind != "lora":
        untried.append(fields.sentence(key, "LoRA of another kind; plain LoRA is tried."))
    value = fields.values.get("target_modules")
    asked = tuple(value.split()) if isinstance(value, str) else fields.names("target_modules")
    targets = () if not asked or "all-linear" in asked else asked
    return _Tuning("lora", targets, tuple(untried))


def _precision(fields: Fields, launch: Launch) -> tuple[Precision, list[str]]:
    """``bf16`` and ``fp16`` follow ``torch_dtype``, and that follows the model; float32 means fp16 to it."""
    kind = fields.text("torch_dtype")
    if fields.says("bf16") or fields.says("fp16"):
        return training_arguments.precision_of(fields, launch), []
    if kind in ("float16", "float32"):
        return "fp16", []
    if kind == "bfloat16":
        return "bf16", []
    return "bf16", [fields.sentence("torch_dtype", "ms-swift takes the model's own precision; bf16 is tried.")]


def _reentrant(fields: Fields, is_ddp: bool) -> tuple[bool, list[str]]:
    """Its own default: non-reentrant under DDP, reentrant everywhere else."""
    section = fields.section("gradient_checkpointing_kwargs").leniently()
    untried = section.others(("use_reentrant",), "the checkpoint function is tried without it.")
    if section.says("use_reentrant"):
        return section.flag("use_reentrant"), untried
    return not is_ddp, untried


def _functions(reentrant: bool) -> list[str]:
    if PACKAGE in catalog.functions():
        return [PACKAGE]
    return [REENTRANT if reentrant else NON_REENTRANT]


def _untried(fields: Fields) -> list[str]:
    found = fields.untried(UNTRIED)
    found += fields.beyond_one({"sequence_parallel_size": "sequence parallelism."})
    found += training_arguments.other_attention(fields, "attn_impl")
    if fields.values.get("task_type") not in (None, "causal_lm"):
        found.append(fields.sentence("task_type", "another head and loss; language modelling is tried."))
    if "activation_cpu_offload" in fields.names("callbacks"):
        found.append(
            fields.sentence("callbacks", "activations that are moved to the CPU; the recomputation is tried alone.")
        )
    if fields.says("vit_gradient_checkpointing"):
        reason = "checkpointing of the vision part alone; what `gradient_checkpointing` says is tried."
        found.append(fields.sentence("vit_gradient_checkpointing", reason))
    return found


def _unjudged(fields: Fields) -> list[str]:
    found = [fields.sentence_of(keys, MEGATRON)] if (keys := [key for key in MEGATRONS if fields.says(key)]) else []
    if fields.values.get("tuner_backend") == "unsloth":
        found.append(
            fields.sentence("tuner_backend", "unsloth's model checkpoints its layers itself, which is not judged.")
        )
    return found


FORMAT = Format(
    name=SWIFT,
    title="ms-swift",
    read=read,
    own=frozenset(
        {
            "train_type",
            "tuner_type",
            "rlhf_type",
            "split_dataset_ratio",
            "swift_version",
            "attn_impl",
            "freeze_vit",
            "freeze_aligner",
            "target_regex",
            "model_author",
            "quant_bits",
            "vit_gradient_checkpointing",
        }
    ),
    model=("model",),
    beside_model=frozenset({"dataset"}),
    package=PACKAGE,
    refused=lambda keys, environment: unknown(keys, environment, FILES, ("ENV", "config")),
)
