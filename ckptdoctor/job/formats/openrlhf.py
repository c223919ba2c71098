"""A job of OpenRLHF's: the options of its commands, in the names that they have, and in those before release 0.10."""

from __future__ import annotations

from ckptdoctor.job import models
from ckptdoctor.job.fields import Fields
from ckptdoctor.job.format import Format
from ckptdoctor.job.formats import deepspeed, training_arguments
from ckptdoctor.job.formats.deepspeed import Precision
from ckptdoctor.job.job import Job
from ckptdoctor.job.launch import Launch
from ckptdoctor.job.releases import NON_REENTRANT, REENTRANT, Releases
from ckptdoctor.job.trainer_arguments import unknown
from ckptdoctor.model.evidence import Setup

OPENRLHF = "openrlhf"

NAMES = {
    "model.model_name_or_path": "pretrain",
    "actor.model_name_or_path": "pretrain",
    "model.gradient_checkpointing_enable": "gradient_checkpointing",
    "actor.gradient_checkpointing_enable": "gradient_checkpointing",
    "model.gradient_checkpointing_reentrant": "gradient_checkpointing_use_reentrant",
    "actor.gradient_checkpointing_reentrant": "gradient_checkpointing_use_reentrant",
    "ds.zero_stage": "zero_stage",
    "ds.param_dtype": "param_dtype",
    "ds.attn_implementation": "attn_implementation",
    "ds.packing_samples": "packing_samples",
    "ds.load_in_4bit": "load_in_4bit",
    "ds.lora.rank": "lora_rank",
    "ds.lora.dropout": "lora_dropout",
    "ds.lora.target_modules": "target_modules",
    "ds.adam_offload": "adam_offload",
    "ds.zpg": "zpg",
    "ds.deepcompile": "deepcompile",
    "ds.tensor_parallel_size": "ds_tensor_parallel_size",
    "ds.ring_attn_size": "ring_attn_size",
    "ds.use_liger_kernel": "use_liger_kernel",
}
"""Options with dots, and what they were called before."""

OF_LAUNCHERS = ("deepspeed", "deepspeed_config", "deepscale", "deepscale_config", "local_rank")
"""Options that DeepSpeed adds to its commands."""

UNTRIED = {
    "load_in_4bit": "quantized weights; plain ones are tried.",
    "packing_samples": "packed sequences with attention of their own.",
    "use_liger_kernel": "Liger's kernels in the layers.",
    "lora_dropout": "dropout in the adapter; the adapter is tried without dropout.",
    "flash_attn": "flash-attention's kernels; the model's usual attention is tried.",
    "deepcompile": "compilation of the model by DeepSpeed.",
    "freeze_visual_encoder": "parts of the model that stay frozen; they are trained.",
}


def read(fields: Fields, releases: Releases, choice: models.Choice, launch: Launch) -> Job:
    """Read a job of OpenRLHF's; DeepSpeed trains the model, with a configuration that OpenRLHF makes."""
    fields = fields.leniently().renamed(NAMES)
    model = models.find(choice, fields.text("pretrain"), key="pretrain")
    is_on = fields.flag("gradient_checkpointing")
    reentrant = fields.flag("gradient_checkpointing_use_reentrant")
    wanted = _precision(fields)
    configuration = _configuration(fields, wanted)
    precision, remarks = deepspeed.precision_of(configuration, wanted)
    rank = fields.whole("lora_rank")
    setup = Setup(
        "lora" if rank else "full",
        _targets(fields) if rank else (),
        precision=precision,
        reentrant=reentrant,
        deepspeed=configuration.text,
        inputs_require_grad=True,
    )
    functions = [REENTRANT if reentrant else NON_REENTRANT] if is_on else []
    return Job(
        fields.source,
        OPENRLHF,
        model.folder,
        model.name,
        model.kind,
        functions,
        configuration.engine,
        is_on,
        setup,
        [*model.untried, *configuration.untried, *remarks, *_untried(fields)],
        how=model.how,
        doubt=model.doubt,
    )


def _precision(fields: Fields) -> Precision:
    """``param_dtype``; without it bf16, which is what releases before 0.9.5 call ``bf16``."""
    return "fp16" if fields.values.get("param_dtype", "bf16") in ("fp16", "float16") else "bf16"


def _configuration(fields: Fields, precision: Precision) -> deepspeed.Configuration:
    zero: dict[str, object] = {"stage": fields.whole("zero_stage", 2)}
    if fields.flag("adam_offload"):
        zero["offload_optimizer"] = {"device": "cpu"}
    zero["zero_hpz_partition_size"] = fields.whole("zpg", 1)
    size = fields.whole("ds_tensor_parallel_size", 1)
    return deepspeed.configured(
        Fields(
            fields.source,
            {
                "zero_optimization": zero,
                "bf16": {"enabled": precision == "bf16"},
                "fp16": {"enabled": precision == "fp16"},
                "tensor_parallel": {"autotp_size": size},
            },
        )
    )


def _targets(fields: Fields) -> tuple[str, ...]:
    value = fields.values.get("target_modules")
    asked = tuple(value.split()) if isinstance(value, str) else fields.names("target_modules")
    return () if not asked or "all-linear" in asked else asked


def _untried(fields: Fields) -> list[str]:
    ring = fields.beyond_one({"ring_attn_size": "sequence parallelism (ring attention)."})
    return [*fields.untried(UNTRIED), *ring, *training_arguments.other_attention(fields)]


FORMAT = Format(
    name=OPENRLHF,
    title="OpenRLHF",
    read=read,
    refused=lambda keys, environment: unknown(keys, environment, {OPENRLHF: ("cli/*.py",)}, OF_LAUNCHERS),
    own=frozenset({"micro_train_batch_size", "zpg", "zero_stage", *NAMES}),
)
