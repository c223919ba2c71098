"""DeepSpeed's configuration: no offloading, no optimizer that a compiler builds, batches as small as the job's."""

from __future__ import annotations

import copy
import json
import os
from typing import Any, Callable

from ..deepspeed_on_cpus import wait_for_each_gather, without_shm_op
from . import devices, reductions, telling
from .wrapping import wrap

BATCHES = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps")
LOGGERS = ("tensorboard", "wandb", "csv_monitor", "comet", "flops_profiler")
OF_MANY_RANKS = ("zero_hpz_partition_size", "mics_shard_size", "mics_hierarchical_params_gather")


PERSISTENCE = "stage3_param_persistence_threshold"
DEFAULT_PERSISTENCE = 100_000
"""DeepSpeed's own."""

NARROWER = 128
"""By how much a small model is narrower than one of width 4096."""


def act_on_accelerate(module: Any) -> None:
    """Accelerate's reader, which transformers' is made of."""
    wrap(module.HfDeepSpeedConfig, "__init__", _read)


def act_on_transformers(module: Any) -> None:
    """Transformers' reader, where there is no accelerate's."""
    wrap(module.HfDeepSpeedConfig, "__init__", _read)


def act_on_operations(module: Any) -> None:
    """On a CPU: without the op that a compiler builds."""
    if devices.on_cpu():
        without_shm_op(module)


def act_on_communication(module: Any) -> None:
    """On a CPU: gathered weights are there when they are used, as on a GPU."""
    if devices.on_cpu():
        wait_for_each_gather(module)


def act_on_deepspeed(module: Any) -> None:
    """DeepSpeed's own reader, for jobs that call ``deepspeed.initialize``."""
    wrap(module.DeepSpeedConfig, "__init__", _initialized)


_read_before: list[bool] = []
"""Not empty once a trainer has read a configuration: what reaches DeepSpeed then comes from there."""


def _read(original: Callable[..., Any], config: Any, given: Any, *args: Any, **kwargs: Any) -> None:
    small = reduced(given)
    if isinstance(small, dict):
        _partition(small)
        _read_before.append(True)
    original(config, small, *args, **kwargs)


def _initialized(original: Callable[..., Any], config: Any, given: Any, *args: Any, **kwargs: Any) -> None:
    small = reduced(given, keeps_batches=True)
    if isinstance(small, dict) and not _read_before:
        _partition(small)
    if isinstance(small, dict) and all(isinstance(small.get(name), int) for name in BATCHES[1:]):
        small.pop(BATCHES[0], None)
        for name, limit in zip(BATCHES[1:], (reductions.BATCH, reductions.ACCUMULATION)):
            small[name] = min(small[name], limit)
    original(config, small, *args, **kwargs)


def reduced(given: Any, keeps_batches: bool = False) -> Any:
    """A configuration that can be run on this machine.

    Args:
        given: The configuration, or its file; what is neither stays.
        keeps_batches: Sizes of batches stay; else they come from the trainer's arguments, which are small.
    """
    if isinstance(given, (str, os.PathLike)) and os.path.isfile(given):
        with open(given, encoding="utf-8") as handle:
            given = json.load(handle)
    if not isinstance(given, dict):
        return given
    config = copy.deepcopy(given)
    zero = config.get("zero_optimization")
    if isinstance(zero, dict):
        _shrink_zero(zero)
    for name in (*LOGGERS, "aio"):
        config.pop(name, None)
    for name in BATCHES if not keeps_batches else ():
        if isinstance(config.get(name), int):
            config[name] = "auto"
    if devices.on_cpu():
        _run_on_cpu(config)
    return config


def _shrink_zero(zero: dict[str, Any]) -> None:
    for name in ("offload_optimizer", "offload_param", "cpu_offload", "cpu_offload_params"):
        found = zero.pop(name, None)
        device = found.get("device") if isinstance(found, dict) else found
        if device not in (None, False, "none"):
            telling.small("DeepSpeed's offloading is off.")
    for name in OF_MANY_RANKS:
        if zero.pop(name, None) not in (None, 1, -1, False):
            telling.small(f"DeepSpeed's `{name}` needs more ranks and is off.")


def _partition(config: dict[str, Any]) -> None:
    """As much of a small model is partitioned as of the real one: below some size, ZeRO 3 leaves parameters whole."""
    zero = config.get("zero_optimization")
    zero = zero if isinstance(zero, dict) else {}
    threshold = zero.get(PERSISTENCE, DEFAULT_PERSISTENCE)
    if zero.get("stage") == 3 and isinstance(threshold, (int, float)):  # else it goes by the width of the model
        zero[PERSISTENCE] = int(threshold) // NARROWER


def _run_on_cpu(config: dict[str, Any]) -> None:
    half = config.get("fp16")
    if isinstance(half, dict) and half.get("enabled") is True:
        config["fp16"] = {"enabled": False}
        config["bf16"] = {"enabled": True}
        telling.small("`fp16` needs a GPU: the job runs in bf16.")
    optimizer = config.get("optimizer")
    if isinstance(optimizer, dict):
        if str(optimizer.get("type")).lower() not in ("adam", "adamw"):
            telling.small(f"DeepSpeed's optimizer {optimizer.get('type')} needs a compiler: AdamW is used.")
            learning = optimizer.get("params", {})
            optimizer["params"] = {key: learning[key] for key in ("lr", "weight_decay") if key in learning}
            optimizer["type"] = "AdamW"
        optimizer.setdefault("params", {})["torch_adam"] = True  # the fused one is built by a compiler
