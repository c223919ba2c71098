"""Whose job a file is, told by the names of its keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ckptdoctor.errors import UsageFault
from ckptdoctor.wording import listed

LLAMAFACTORY, AXOLOTL, TRANSFORMERS, DEEPSPEED = "llamafactory", "axolotl", "transformers", "deepspeed"

TITLES = {
    LLAMAFACTORY: "LLaMA-Factory",
    AXOLOTL: "axolotl",
    TRANSFORMERS: "transformers' TrainingArguments",
    DEEPSPEED: "DeepSpeed",
}

OWN = {
    LLAMAFACTORY: {
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
        "infer_backend",
        "export_dir",
        "upcast_layernorm",
    },
    AXOLOTL: {
        "base_model_config",
        "sequence_len",
        "micro_batch_size",
        "lora_target_linear",
        "lora_model_dir",
        "sample_packing",
        "pad_to_sequence_len",
        "unfrozen_parameters",
        "dataset_prepared_path",
        "pretraining_dataset",
        "activation_offloading",
        "val_set_size",
        "num_epochs",
    },
    DEEPSPEED: {
        "zero_optimization",
        "train_batch_size",
        "train_micro_batch_size_per_gpu",
        "zero_allow_untested_optimizer",
        "zero_force_ds_cpu_optimizer",
    },
}
"""Keys by which a trainer's file is told. LLaMA-Factory and axolotl take many of ``TrainingArguments``' beside them."""

WITH_MODEL = {
    LLAMAFACTORY: ("model_name_or_path", {"stage", "template", "dataset", "flash_attn", "quantization_bit"}),
    AXOLOTL: ("base_model", {"datasets", "adapter", "load_in_4bit", "load_in_8bit", "gradient_checkpointing"}),
}
"""The key that names a trainer's model, and those that tell its file together with it."""

TRAINING_ARGUMENTS = {
    "output_dir",
    "per_device_train_batch_size",
    "num_train_epochs",
    "gradient_checkpointing",
    "gradient_checkpointing_kwargs",
    "activation_checkpointing",
    "activation_checkpointing_kwargs",
    "deepspeed",
}
"""Keys of ``TrainingArguments``, which tell a file only if nothing tells it to be another's."""

V1 = (
    "a job for LLaMA-Factory's new trainer (v1), which is not read",
    "say what it does with --model, --engine and --checkpoint-fn torch:non-reentrant",
)
SWIFT = ("a job of ms-swift, which is not read", "say what it does with --model, --engine and --checkpoint-fn")

FOREIGN: tuple[tuple[set[str], str, str], ...] = (
    ({"peft_type"}, "a PEFT adapter's configuration", "give the job that trains it"),
    ({"architectures"}, "a model's configuration", "give the folder that it lies in with --model"),
    ({"distributed_type"}, "a configuration of accelerate", "give the job that it launches"),
    ({"log_history"}, "the state that transformers' Trainer saves", "give the job that it is the state of"),
    ({"merge_method", "models"}, "a recipe for merging models", "give a training job"),
    ({"train_type"}, *SWIFT),
    ({"tuner_type"}, *SWIFT),
    ({"model", "train_dataset"}, *V1),
    ({"model", "peft_config"}, *V1),
    ({"dist_config"}, *V1),
    ({"enable_activation_checkpointing"}, *V1),
)
"""Files that are taken for jobs, what they are, and what to do."""

HINT = "give a job of LLaMA-Factory or axolotl, a file of TrainingArguments, or a configuration of DeepSpeed"


def tell(source: str, values: Mapping[str, Any]) -> str:
    """Whose job it is.

    Raises:
        UsageFault: It is nobody's that can be read, or there are marks of several.
    """
    for keys, what, hint in FOREIGN:
        if keys <= values.keys():
            raise UsageFault(f"{source} is {what} (`{min(keys)}`).", hint)
    marks = {trainer: found for trainer in OWN if (found := _marks(trainer, values))}
    if len(marks) > 1:
        both = listed([f"{TITLES[trainer]} (`{found[0]}`)" for trainer, found in marks.items()])
        raise UsageFault(f"{source} has keys of {both}.", "give a file that is one trainer's alone")
    if marks:
        return next(iter(marks))
    if TRAINING_ARGUMENTS & values.keys():
        return TRANSFORMERS
    if any(isinstance(values.get(name), Mapping) for name in ("bf16", "fp16")):
        return DEEPSPEED
    raise UsageFault(f"{source} has no key by which a trainer's job is told.", HINT)


def _marks(trainer: str, values: Mapping[str, Any]) -> list[str]:
    """The keys by which a file is told to be a trainer's, the surest first."""
    found = OWN[trainer] & values.keys()
    model, beside = WITH_MODEL.get(trainer, ("", set()))
    return sorted(found) + sorted(beside & values.keys() if model in values else ())
