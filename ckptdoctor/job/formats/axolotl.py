"""A job of axolotl's, read as ``axolotl train`` reads it."""

from __future__ import annotations

from typing import Literal, NamedTuple

from ckptdoctor.job import models
from ckptdoctor.job.fields import Fields
from ckptdoctor.job.format import Format
from ckptdoctor.job.formats import deepspeed, training_arguments
from ckptdoctor.job.formats.deepspeed import Precision
from ckptdoctor.job.job import Job
from ckptdoctor.job.releases import NON_REENTRANT, Releases
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

UNTRIED = {
    "load_in_8bit": "quantized weights; plain ones are tried.",
    "load_in_4bit": "quantized weights; plain ones are tried.",
    "use_onebitllms": "quantized weights; plain ones are tried.",
    "gptq": "quantized weights; plain ones are tried.",
    "model_quantization_config": "quantized weights; plain ones are tried.",
    "qat": "weights that are quantized in training.",
    "fp8": "matrices in 8 bits.",
    "bfloat16": "weights in bfloat16 throughout; autocast to bfloat16 is tried.",
    "float16": "weights in float16 throughout; autocast to float16 is tried.",
    "fsdp": "FSDP shards the model; it is tried whole.",
    "fsdp_config": "FSDP shards the model; it is tried whole.",
    "flash_attention": "flash-attention's kernels; the model's usual attention is tried.",
    "xformers_attention": "xformers' kernels; the model's usual attention is tried.",
    "flex_attention": "flex attention, which is compiled; the model's usual attention is tried.",
    "sage_attention": "sage attention's kernels; the model's usual attention is tried.",
    "s2_attention": "LongLoRA's shifted attention.",
    "processor_type": "images or sound in the batch; text alone is tried.",
    "sample_packing": "packed sequences with attention of their own.",
    "batch_flattening": "packed sequences with attention of their own.",
    "torch_compile": "compilation of the model (`torch.compile`).",
    "torch_compile_mode": "compilation of the model (`torch.compile`).",
    "deepcompile": "compilation of the model by DeepSpeed.",
    "plugins": "axolotl's plugins; none is loaded.",
    "flash_attn_fuse_mlp": "fused kernels in the layers.",
    "flash_attn_rms_norm": "fused kernels in the layers.",
    "fused_attn_kernel": "fused kernels in the layers.",
    "use_kernels": "kernels from the hub in the layers.",
    "tiled_mlp": "layers that run their MLP in tiles, with recomputation of their own.",
    "layer_offloading": "layers whose parameters are moved to the CPU between passes.",
    "selective_checkpointing": "checkpointing that keeps what some operations return.",
    "unfrozen_parameters": "parameters that are selected by name; all parameters are trained.",
    "lisa_step_interval": "LISA, which trains some layers at a time; all are trained at once.",
    "relora": "ReLoRA.",
    "relora_steps": "ReLoRA.",
    "rl": "another loss, usually with a reference model; the usual loss is tried.",
    "reward_model": "a reward model's loss; the usual loss is tried.",
    "process_reward_model": "a reward model's loss; the usual loss is tried.",
    "unsloth_lora_mlp": "unsloth's kernels in the layers.",
    "unsloth_lora_qkv": "unsloth's kernels in the layers.",
    "unsloth_lora_o": "unsloth's kernels in the layers.",
    "unsloth_rms_norm": "unsloth's kernels in the layers.",
    "lora_mlp_kernel": "axolotl's LoRA kernels in the layers.",
    "lora_qkv_kernel": "axolotl's LoRA kernels in the layers.",
    "lora_o_kernel": "axolotl's LoRA kernels in the layers.",
    "quantize_moe_experts": "quantized experts; plain ones are tried.",
}

LORA_UNTRIED = {
    "peft_use_dora": "DoRA; plain LoRA is tried.",
    "peft_use_rslora": "rank-stabilized LoRA; plain LoRA is tried.",
    "peft_init_lora_weights": "another start of the adapter, such as PiSSA; plain LoRA is tried.",
    "peft_layers_to_transform": "an adapter on some layers only; all layers get one.",
    "peft_layer_replication": "layers that are used several times.",
    "lora_modules_to_save": "modules that are also trained whole; they stay frozen.",
    "lora_target_parameters": "an adapter that also covers bare parameters; they get no adapter.",
    "lora_dropout": "dropout in the adapter; the adapter is tried without dropout.",
}

BEYOND_ONE = {
    "sequence_parallel_degree": "sequence parallelism.",
    "context_parallel_size": "context parallelism.",
    "tensor_parallel_size": "tensor parallelism.",
    "expert_parallel_size": "expert parallelism.",
    "dp_shard_size": "sharding over several processes.",
    "ray_num_workers": "several processes: --nproc tries that.",
}


def read(fields: Fields, releases: Releases, choice: models.Choice) -> Job:
    """Read a job of axolotl's."""
    fields = fields.leniently()
    key = "base_model_config" if fields.says("base_model_config") else "base_model"
    model = models.find(choice, fields.text(key), fields.text("revision_of_model"), key=key)
    tuning = _tuning(fields)
    configuration = deepspeed.asked_for(fields)
    wanted, remarks = _precision(fields)
    precision, more = deepspeed.precision_of(configuration, wanted)
    checkpointing = _checkpointing(fields, tuning, model.kind, releases)
    untried = [
        *checkpointing.untried,
        *model.untried,
        *tuning.untried,
        *configuration.untried,
        *remarks,
        *more,
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
    functions, is_on = checkpointing.functions, bool(checkpointing.functions)
    return Job(
        fields.source,
        AXOLOTL,
        model.folder,
        model.name,
        model.kind,
        functions,
        configuration.engine,
        is_on,
        setup,
        untried,
        training_arguments.by_fsdp(fields),
    )


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
