"""Which trainer a job file belongs to, by the names of its keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ckptdoctor.errors import UsageFault
from ckptdoctor.job.format import Format
from ckptdoctor.job.formats import formats
from ckptdoctor.words.wording import listed


class ForeignFault(UsageFault):
    """A file that is known, and is no job that can be read."""


class NoJobFault(UsageFault):
    """A file in which nothing shows whose it is."""


BY_HAND = "say what it does with --model, --engine and --checkpoint-fn"
"""What to do with a job that cannot be read."""


def _foreign(trainer: str) -> tuple[str, str]:
    return f"{trainer}: not supported", BY_HAND


_V1 = _foreign("a job of LLaMA-Factory's v1 trainer")
_TORCHTUNE = _foreign("a torchtune recipe")
_VERL = _foreign("a Hydra configuration, such as verl's")
_OPEN_INSTRUCT = _foreign("an open-instruct job")

FOREIGN: tuple[tuple[set[str], str, str], ...] = (
    ({"peft_type"}, "a PEFT adapter's configuration", "give the job that trains it"),
    ({"architectures"}, "a model's configuration", "give the folder that it lies in with --model"),
    ({"log_history"}, "the state that transformers' Trainer saves", "give the job that it is the state of"),
    ({"merge_method", "models"}, "a recipe for merging models", "give a training job"),
    ({"metric_logger"}, *_TORCHTUNE),
    ({"checkpointer", "tokenizer"}, *_TORCHTUNE),
    ({"enable_activation_offloading"}, *_TORCHTUNE),
    ({"enable_activation_checkpointing", "tokenizer"}, *_TORCHTUNE),
    ({"hydra"}, *_VERL),
    ({"defaults"}, *_VERL),
    ({"_target_"}, *_VERL),
    ({"ppo_micro_batch_size_per_gpu"}, *_VERL),
    ({"forward_max_token_len_per_gpu"}, *_VERL),
    ({"with_tracking"}, *_OPEN_INSTRUCT),
    ({"use_slow_tokenizer"}, *_OPEN_INSTRUCT),
    ({"dataset_mixer_list"}, *_OPEN_INSTRUCT),
    ({"dataset_mix_dir"}, *_OPEN_INSTRUCT),
    ({"sft_type"}, *_foreign("a job of ms-swift 2")),
    ({"model", "train_dataset"}, *_V1),
    ({"model", "peft_config"}, *_V1),
    ({"dist_config"}, *_V1),
    ({"enable_activation_checkpointing"}, *_V1),
)
"""Files that are taken for jobs, the surest mark first: the keys that all stand in them, what they are, and what to do."""

HINT = (
    "give a job of LLaMA-Factory, axolotl, TRL, ms-swift, verl or OpenRLHF, a file of TrainingArguments, or a configuration "
    "of DeepSpeed"
)


def tell(source: str, values: Mapping[str, Any]) -> Format:
    """Whose job it is.

    Raises:
        UsageFault: It is nobody's that can be read, or there are marks of several.
    """
    if any(isinstance(value, Mapping) and "_component_" in value for value in values.values()):
        raise ForeignFault(f"{source} is {_TORCHTUNE[0]} (`_component_`).", _TORCHTUNE[1])
    for keys, what, hint in FOREIGN:
        if keys <= values.keys():
            raise ForeignFault(f"{source} is {what} (`{min(keys)}`).", hint)
    marks = {name: found for name, one in formats().items() if (found := one.marks(values))}
    if len(marks) > 1:
        both = listed([f"{formats()[name].title} (`{found[0]}`)" for name, found in marks.items()])
        raise UsageFault(f"{source} has keys of {both}.", "give a file that is one trainer's alone")
    shared = [name for name, one in formats().items() if one.shared & values.keys()]
    for name in (*marks, *shared):
        return formats()[name]
    raise NoJobFault(f"{source} has no key that belongs to one supported trainer alone.", HINT)
