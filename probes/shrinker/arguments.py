"""Arguments of a job: those of ``TrainingArguments`` and of its subclasses, and of what ``HfArgumentParser`` reads."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any, Callable

from . import deepspeed, devices, reductions, telling
from .wrapping import wrap

GPU_OPTIMIZERS = ("bnb", "8bit", "4bit", "paged", "apex", "fused", "npu")
"""Parts of names of optimizers that need a GPU, or a compiler."""


# -- whatever is parsed ------------------------------------------------------------------------------------------------


def act_on_parser(module: Any) -> None:
    """``HfArgumentParser``: every class whose arguments it reads is made with smaller ones."""
    wrap(module.HfArgumentParser, "__init__", _parser_made)


def _parser_made(
    original: Callable[..., Any], parser: Any, dataclass_types: Any = None, *args: Any, **kwargs: Any
) -> None:
    found = dataclass_types if isinstance(dataclass_types, (list, tuple)) else [dataclass_types]
    for kind in found:
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            wrap(kind, "__init__", _instance_made)
    original(parser, *(() if dataclass_types is None else (dataclass_types,)), *args, **kwargs)


def _instance_made(original: Callable[..., Any], made: Any, *args: Any, **kwargs: Any) -> None:
    known = {field.name: _default(field) for field in dataclasses.fields(made) if field.init}
    given = dict(zip(known, args))
    given.update(kwargs)
    for name, reduce in _of_data().items():
        if name in known:
            value = given.get(name, known[name])
            used = _reduced(name, value, reduce, is_told=name in given or name in reductions.LENGTHS[:9])
            if used != value:
                given[name] = used
    _no_new_cache_of_tokens(given)
    original(made, **given)


def _default(field: Any) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None if field.default is dataclasses.MISSING else field.default


def _no_new_cache_of_tokens(given: dict[str, Any]) -> None:
    """LLaMA-Factory's ``tokenized_path``: the folder is written where it does not exist, and the job ends then."""
    path = given.get("tokenized_path")
    if isinstance(path, str) and not os.path.exists(path):
        given["tokenized_path"] = None
        telling.small("`tokenized_path` is not written: the job trains on a few rows.")


def _of_data() -> dict[str, reductions.Reduce]:
    return {**reductions.OF_DATA, **(reductions.ON_CPU if devices.on_cpu() else {})}


def _reduced(name: str, value: Any, reduce: reductions.Reduce, is_told: bool = True) -> Any:
    used = reduce(value)
    if used != value and value not in (None, False) and is_told and "eval" not in name:
        if name in reductions.ON_CPU:
            telling.small(f"`{name}` needs a GPU and is off.")
        else:
            telling.small(f"`{name}` is {_shown(used)} instead of {_shown(value)}.")
    return used


def _shown(value: Any) -> str:
    return "unset" if value is None else "off" if value is False else "on" if value is True else str(value)


# -- TrainingArguments --------------------------------------------------------------------------------------------------


def act_on_training_arguments(module: Any) -> None:
    """``TrainingArguments`` and every subclass: small before their own checks run."""
    base = module.TrainingArguments
    wrap(base, "__post_init__", _checked)
    before = base.__init_subclass__

    def init_subclass(cls: Any, /, **kwargs: Any) -> None:
        before(**kwargs)
        if "__post_init__" in vars(cls):
            wrap(cls, "__post_init__", _checked)

    base.__init_subclass__ = classmethod(init_subclass)


def _checked(original: Callable[..., Any], arguments: Any, *args: Any, **kwargs: Any) -> None:
    if not vars(arguments).get("_ckptdoctor_small"):
        object.__setattr__(arguments, "_ckptdoctor_small", True)
        shrink(arguments)
    original(arguments, *args, **kwargs)


def shrink(arguments: Any) -> None:
    """Make training arguments small, in place."""
    for name, reduce in {**_of_data(), **reductions.OF_TRAINING}.items():
        if hasattr(arguments, name):
            value = getattr(arguments, name)
            used = _reduced(name, value, reduce)
            if used != value:
                setattr(arguments, name, used)
    _end_early(arguments)
    _switch_off(arguments)
    if devices.on_cpu():
        _run_on_cpu(arguments)
    if getattr(arguments, "deepspeed", None):
        arguments.deepspeed = deepspeed.reduced(arguments.deepspeed)
    _no_offload(arguments)


def _end_early(arguments: Any) -> None:
    steps = telling.steps() + 1
    wanted = getattr(arguments, "max_steps", -1)
    if not 0 < wanted <= steps:
        arguments.max_steps = steps
        telling.small(f"The job ends after {steps} optimizer steps.")


def _switch_off(arguments: Any) -> None:
    if getattr(arguments, "load_best_model_at_end", False) and not getattr(arguments, "metric_for_best_model", None):
        arguments.metric_for_best_model = "loss"  # as it would be with the best model
    for name, value in reductions.SWITCHED_OFF.items():
        if hasattr(arguments, name):
            setattr(arguments, name, value)
    for name in ("eval_strategy", "evaluation_strategy"):
        wanted = str(getattr(getattr(arguments, name, None), "value", getattr(arguments, name, None)))
        if wanted in ("steps", "epoch"):  # callbacks that stop early require that there is evaluation
            setattr(arguments, name, "steps")
            arguments.eval_steps = reductions.NEVER
    if getattr(arguments, "logging_dir", None):
        arguments.logging_dir = telling.folder("logs")
    arguments.output_dir = telling.folder("output")
    telling.small("Checkpoints, evaluation, loggers and uploads are off. Output goes to a temporary folder.")


def _run_on_cpu(arguments: Any) -> None:
    for name in ("use_cpu", "no_cuda"):
        if hasattr(arguments, name):
            setattr(arguments, name, True)
            break
    if getattr(arguments, "tf32", None):
        arguments.tf32 = None
    if getattr(arguments, "fp16", False):
        arguments.fp16, arguments.bf16 = False, True
        telling.small("`fp16` needs a GPU: the job runs in bf16.")
    if str(getattr(arguments, "ddp_backend", None)) == "nccl":
        arguments.ddp_backend = "gloo"
    optimizer = str(getattr(getattr(arguments, "optim", ""), "value", getattr(arguments, "optim", "")))
    if any(part in optimizer for part in GPU_OPTIMIZERS):
        arguments.optim = "adamw_torch"
        if optimizer != "adamw_torch_fused":  # the default of new releases
            telling.small(f"The optimizer {optimizer} needs a GPU: AdamW is used.")


def _no_offload(arguments: Any) -> None:
    """FSDP keeps parameters where it computes."""
    wanted = getattr(arguments, "fsdp", None)
    if isinstance(wanted, str) and "offload" in wanted.split():
        arguments.fsdp = " ".join(word for word in wanted.split() if word != "offload")
        telling.small("FSDP's offloading is off.")
    given = getattr(arguments, "fsdp_config", None)
    if isinstance(given, Mapping):
        arguments.fsdp_config = {
            key: value
            for key, value in given.items()
            if key.removeprefix("fsdp_") not in ("offload_params", "cpu_offload")
        }
