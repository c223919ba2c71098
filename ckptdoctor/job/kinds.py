"""Whose job a file is, told by the names of its keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ckptdoctor.errors import UsageFault
from ckptdoctor.words.wording import listed

LLAMAFACTORY, AXOLOTL, TRANSFORMERS, DEEPSPEED = "llamafactory", "axolotl", "transformers", "deepspeed"

TITLES = {
    LLAMAFACTORY: "LLaMA-Factory",
    AXOLOTL: "axolotl",
    TRANSFORMERS: "transformers' TrainingArguments",
    DEEPSPEED: "DeepSpeed",
}

PRECISIONS = ("bf16", "fp16", "bfloat16")
"""Sections of DeepSpeed's; in jobs of other trainers they are true or false."""

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
        "export_dir",
        "upcast_layernorm",
    },
    DEEPSPEED: {
        "zero_optimization",
        "train_micro_batch_size_per_gpu",
        "zero_allow_untested_optimizer",
        "zero_force_ds_cpu_optimizer",
    },
}
"""Keys that are one trainer's alone: no argument of the other trainers whose files are known here has such a name."""

WITH_MODEL = {
    LLAMAFACTORY: (("model_name_or_path",), {"stage", "template"}),
    AXOLOTL: (
        ("base_model", "base_model_config"),
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
        },
    ),
}
"""The keys that name a trainer's model, and those that tell its file together with one of them."""

TRAINING_ARGUMENTS = {
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
"""Keys of ``TrainingArguments``. Trainers that build on it take them too, so they count only if no other trainer's do."""

_BY_HAND = "say what it does with --model, --engine and --checkpoint-fn"


def _foreign(trainer: str) -> tuple[str, str]:
    return f"{trainer}: not supported", _BY_HAND


_V1 = _foreign("a job of LLaMA-Factory's v1 trainer")
_SWIFT = _foreign("an ms-swift job")
_TORCHTUNE = _foreign("a torchtune recipe")
_VERL = _foreign("a Hydra configuration, such as verl's")
_OPEN_INSTRUCT = _foreign("an open-instruct job")
_OPENRLHF = _foreign("an OpenRLHF job")

FOREIGN: tuple[tuple[set[str], str, str], ...] = (
    ({"peft_type"}, "a PEFT adapter's configuration", "give the job that trains it"),
    ({"architectures"}, "a model's configuration", "give the folder that it lies in with --model"),
    ({"distributed_type"}, "a configuration of accelerate", "give the job that it launches"),
    ({"log_history"}, "the state that transformers' Trainer saves", "give the job that it is the state of"),
    ({"merge_method", "models"}, "a recipe for merging models", "give a training job"),
    ({"metric_logger"}, *_TORCHTUNE),
    ({"checkpointer", "tokenizer"}, *_TORCHTUNE),
    ({"enable_activation_offloading"}, *_TORCHTUNE),
    ({"enable_activation_checkpointing", "tokenizer"}, *_TORCHTUNE),
    ({"actor_rollout_ref"}, *_VERL),
    ({"hydra"}, *_VERL),
    ({"defaults"}, *_VERL),
    ({"_target_"}, *_VERL),
    ({"ppo_micro_batch_size_per_gpu"}, *_VERL),
    ({"forward_max_token_len_per_gpu"}, *_VERL),
    ({"with_tracking"}, *_OPEN_INSTRUCT),
    ({"use_slow_tokenizer"}, *_OPEN_INSTRUCT),
    ({"dataset_mixer_list"}, *_OPEN_INSTRUCT),
    ({"dataset_mix_dir"}, *_OPEN_INSTRUCT),
    ({"pretrain", "zero_stage"}, *_OPENRLHF),
    ({"micro_train_batch_size"}, *_OPENRLHF),
    ({"train_type"}, *_SWIFT),
    ({"tuner_type"}, *_SWIFT),
    ({"rlhf_type"}, *_SWIFT),
    ({"sft_type"}, *_SWIFT),
    ({"split_dataset_ratio"}, *_SWIFT),
    ({"swift_version"}, *_SWIFT),
    ({"model", "train_dataset"}, *_V1),
    ({"model", "peft_config"}, *_V1),
    ({"dist_config"}, *_V1),
    ({"enable_activation_checkpointing"}, *_V1),
    ({"model", "dataset"}, *_SWIFT),
)
"""Files that are taken for jobs, the surest mark first: the keys that all stand in them, what they are, and what to do."""

HINT = "give a job of LLaMA-Factory or axolotl, a file of TrainingArguments, or a configuration of DeepSpeed"


def tell(source: str, values: Mapping[str, Any]) -> str:
    """Whose job it is.

    Raises:
        UsageFault: It is nobody's that can be read, or there are marks of several.
    """
    if any(isinstance(value, Mapping) and "_component_" in value for value in values.values()):
        raise UsageFault(f"{source} is {_TORCHTUNE[0]} (`_component_`).", _TORCHTUNE[1])
    for keys, what, hint in FOREIGN:
        if keys <= values.keys():
            raise UsageFault(f"{source} is {what} (`{min(keys)}`).", hint)
    marks = {trainer: found for trainer in TITLES if (found := _marks(trainer, values))}
    if len(marks) > 1:
        both = listed([f"{TITLES[trainer]} (`{found[0]}`)" for trainer, found in marks.items()])
        raise UsageFault(f"{source} has keys of {both}.", "give a file that is one trainer's alone")
    if marks:
        return next(iter(marks))
    if TRAINING_ARGUMENTS & values.keys():
        return TRANSFORMERS
    raise UsageFault(f"{source} has no key that belongs to one supported trainer alone.", HINT)


def _marks(trainer: str, values: Mapping[str, Any]) -> list[str]:
    """The keys by which a file is told to be a trainer's, the surest first."""
    found = OWN.get(trainer, set()) & values.keys()
    names, beside = WITH_MODEL.get(trainer, ((), set()))
    with_model = beside & values.keys() if any(name in values for name in names) else set()
    sections = {name for name in PRECISIONS if isinstance(values.get(name), Mapping)} if trainer == DEEPSPEED else set()
    return [*sorted(found), *sorted(with_model), *sorted(sections)]
