"""A job of TRL's: a recipe as TRL's scripts, its command, or the alignment-handbook take it."""

from __future__ import annotations

from typing import Literal, NamedTuple

from ckptdoctor.job import models
from ckptdoctor.job.fields import Fields
from ckptdoctor.job.format import Format
from ckptdoctor.job.formats import deepspeed, training_arguments
from ckptdoctor.job.job import Job
from ckptdoctor.job.launch import Launch
from ckptdoctor.job.releases import Releases
from ckptdoctor.job.trainer_arguments import unknown
from ckptdoctor.job.wrapping import wrapped
from ckptdoctor.model.evidence import Setup

TRL = "trl"

CHECKPOINTS_BY_DEFAULT = "0.22.0"
"""The release from which on checkpointing is on unless a job switches it off."""
BF16_BY_DEFAULT = "0.19.0"
"""The release from which on bf16 is on where a job asks for neither precision."""
NON_REENTRANT_BY_DEFAULT = "0.27.0"
"""The release from which on checkpointing is non-reentrant by default with transformers 4 too."""
REENTRANT_UNDER_ZERO3 = "0.28.0"
"""The release from which on supervised fine-tuning of an adapter under ZeRO 3 is reentrant, whatever the job says."""

OFFLOAD = "trl:offload"

ADDED_SWITCH = "gradient_checkpointing"

UNTRIED = {
    "load_in_4bit": "quantized weights; plain ones are tried.",
    "load_in_8bit": "quantized weights; plain ones are tried.",
    "packing": "packed sequences with attention of their own.",
    "padding_free": "packed sequences with attention of their own.",
    "use_liger": "Liger's kernels in the layers.",
    "use_liger_loss": "Liger's loss.",
    "use_transformers_paged": "generation between training steps.",
    "use_vllm": "generation between training steps.",
    "cast_lm_head_to_fp32": "logits in float32 within a model of lower precision.",
    "model_init_kwargs": "arguments for making the model.",
}

LORA_UNTRIED = {
    "use_dora": "DoRA; plain LoRA is tried.",
    "use_rslora": "rank-stabilized LoRA; plain LoRA is tried.",
    "lora_modules_to_save": "modules that are also trained whole; they stay frozen.",
    "lora_target_parameters": "an adapter that also covers bare parameters; they get no adapter.",
    "lora_dropout": "dropout in the adapter; the adapter is tried without dropout.",
}

WEIGHTS = {"bfloat16": "bf16", "float16": "fp16"}

FILES = {
    TRL: ("trainer/*config*.py", "trainer/utils.py", "scripts/*.py", "experimental/*/*config*.py"),
    "transformers": ("training_args.py", "training_args_seq2seq.py"),
}
"""Where its arguments are declared."""

OF_SCRIPTS = (
    *("dataset_mixture", "dataset_mixer", "dataset_splits", "config", "benchmarks", "callbacks", "chat_template"),
    *("system_prompt", "wandb_project", "wandb_entity", "hub_model_revision", "accelerate_config"),
)
"""Arguments that scripts around TRL declare, such as the alignment-handbook's."""


def read(fields: Fields, releases: Releases, choice: models.Choice, launch: Launch) -> Job:
    """Read a job of TRL's."""
    model = models.find(
        choice, fields.text("model_name_or_path"), fields.text("model_revision"), key="model_name_or_path"
    )
    tuning = _tuning(fields)
    fields, remarks = _with_defaults(fields, releases)
    is_on, asked, untried = training_arguments.checkpointing(fields)
    configuration = deepspeed.asked_for(fields, launch)
    precision, more = deepspeed.precision_of(configuration, training_arguments.precision_of(fields, launch))
    sharded = training_arguments.sharding_of(fields, releases, launch)
    wrapping = wrapped(fields, launch, configuration, sharded, precision, is_on)
    is_adapter_in_zero3 = tuning.tuning == "lora" and configuration.engine == "zero3"
    reentrant = _reentrant(
        asked, releases, is_adapter_in_zero3 and fields.values.get("loss_type") in (None, "nll", "dft")
    )
    untried += [*model.untried, *tuning.untried, *configuration.untried, *remarks, *more, *wrapping.untried]
    untried += [*training_arguments.both_on(wrapping, is_on), *_untried(fields), *training_arguments.shared(fields)]
    own, reentrant = _functions(fields, reentrant, releases) if is_on else ([], reentrant)
    setup = Setup(tuning.tuning, tuning.targets, 0, precision, reentrant, configuration.text, inputs_require_grad=True)
    return wrapping.job(fields, TRL, model, own, setup, untried)


def _functions(fields: Fields, reentrant: bool | None, releases: Releases) -> tuple[list[str], bool | None]:
    """TRL's offloading stands around the whole step; without it the function is that of transformers' Trainer."""
    if fields.flag("activation_offloading"):
        return [OFFLOAD], releases.reentrant(reentrant)
    return training_arguments.functions(fields, reentrant, releases)


class _Tuning(NamedTuple):
    tuning: Literal["full", "lora"]
    targets: tuple[str, ...] = ()
    untried: tuple[str, ...] = ()


def _tuning(fields: Fields) -> _Tuning:
    if not fields.flag("use_peft"):
        return _Tuning("full")
    untried = fields.untried(LORA_UNTRIED)
    if fields.text("lora_task_type") not in ("", "CAUSAL_LM"):
        untried.append(fields.sentence("lora_task_type", "another task; the model's language modelling is tried."))
    asked = fields.names("lora_target_modules")
    if not asked:
        reason = "the job names no modules, and PEFT takes its own for the family; every linear layer gets an adapter."
        untried.append(fields.sentence("lora_target_modules", reason))
    return _Tuning("lora", () if asked == ("all-linear",) else asked, tuple(untried))


def _with_defaults(fields: Fields, releases: Releases) -> tuple[Fields, list[str]]:
    """The settings with what the release takes where they are silent, and what is to say of that."""
    said: list[str] = []
    if not any(fields.says(name) for name in (ADDED_SWITCH, "activation_checkpointing")):
        is_on = releases.is_from(TRL, CHECKPOINTS_BY_DEFAULT)
        fields = fields.replaced(ADDED_SWITCH, is_on is not False)
        if is_on is None:
            why = f"on by default from TRL {CHECKPOINTS_BY_DEFAULT} on, and off before; on is tried."
            said.append(fields.sentence(ADDED_SWITCH, why))
    if not fields.asks_for("fp16") and not fields.says("bf16"):
        is_on = releases.is_from(TRL, BF16_BY_DEFAULT)
        weights = WEIGHTS.get(_dtype(fields), "")
        fields = fields.replaced("bf16", is_on is not False or weights == "bf16")
    if (kind := _dtype(fields)) in WEIGHTS:
        key = "dtype" if fields.says("dtype") else "torch_dtype"
        said.append(fields.sentence(key, f"weights in {kind} throughout; float32 weights and autocast are tried."))
    return fields, said


def _dtype(fields: Fields) -> str:
    value = fields.values.get("dtype") or fields.values.get("torch_dtype")
    return value if isinstance(value, str) else ""


def _reentrant(asked: bool | None, releases: Releases, is_forced: bool) -> bool | None:
    if is_forced and releases.is_from(TRL, REENTRANT_UNDER_ZERO3) is True:
        return True
    if asked is None and releases.is_from(TRL, NON_REENTRANT_BY_DEFAULT) is True:
        return False
    return asked


def _untried(fields: Fields) -> list[str]:
    found = [*fields.untried(UNTRIED), *training_arguments.other_attention(fields)]
    if fields.says("beta") or fields.says("num_generations"):
        key = "num_generations" if fields.says("num_generations") else "beta"
        found.append(fields.sentence(key, "another loss, usually with a reference model; the usual loss is tried."))
    return found


FORMAT = Format(
    name=TRL,
    title="TRL",
    read=read,
    own=frozenset(
        {
            "use_peft",
            "lora_task_type",
            "use_bnb_nested_quant",
            "dataset_mixture",
            "dataset_mixer",
            "dataset_splits",
            "dataset_text_field",
            "dataset_train_split",
            "dataset_test_split",
            "assistant_only_loss",
            "completion_only_loss",
            "generate_during_eval",
            "max_prompt_length",
            "eval_packing",
            "truncation_mode",
            "reward_model_path",
            "sft_model_path",
        }
    ),
    model=("model_name_or_path",),
    beside_model=frozenset({"lora_r", "max_seq_length", "lora_target_modules"}),
    refused=lambda keys, environment: unknown(keys, environment, FILES, OF_SCRIPTS),
)
