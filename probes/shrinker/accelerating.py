"""Accelerate's ``Accelerator``, for loops of a script's own."""

from __future__ import annotations

import os
from typing import Any, Callable

from . import devices, reductions, saving, telling
from .wrapping import wrap


def act_on_accelerator(module: Any) -> None:
    """The class, and what it saves."""
    kind = module.Accelerator
    wrap(kind, "__init__", _made)
    wrap(kind, "save_state", _save_state)
    wrap(kind, "save_model", _save_model)
    wrap(kind, "load_state", _load_state)


def act_on_plugins(module: Any) -> None:
    """FSDP's settings."""
    wrap(module.FullyShardedDataParallelPlugin, "__post_init__", _fsdp_made)


def _fsdp_made(original: Callable[..., Any], plugin: Any, *args: Any, **kwargs: Any) -> None:
    """No offloading; on a CPU, no loading by one rank for all, which needs a GPU: each rank has the same small weights."""
    if plugin.cpu_offload or os.environ.get("FSDP_OFFLOAD_PARAMS", "false").lower() == "true":
        plugin.cpu_offload = None
        os.environ["FSDP_OFFLOAD_PARAMS"] = "false"
        telling.small("FSDP's offloading is off.")
    if devices.on_cpu():
        plugin.cpu_ram_efficient_loading = False
        for name in ("SYNC_MODULE_STATES", "CPU_RAM_EFFICIENT_LOADING"):
            os.environ[f"FSDP_{name}"] = "false"
    original(plugin, *args, **kwargs)


def act_on_state(module: Any) -> None:
    """``AcceleratorState``."""

    def made(original: Callable[..., Any], state: Any, *args: Any, **kwargs: Any) -> None:
        original(state, *args, **kwargs)
        _shard(module, state, kwargs.get("fsdp_plugin"))

    wrap(module.AcceleratorState, "__init__", made)


def _shard(module: Any, state: Any, plugin: Any) -> None:
    """FSDP on CPUs, which torch has: accelerate leaves it out there without a word, and trains with DDP."""
    kinds = module.DistributedType
    if plugin is None or not devices.on_cpu() or state.distributed_type != kinds.MULTI_CPU:
        return
    state.distributed_type = module.PartialState._shared_state["distributed_type"] = kinds.FSDP
    if state._mixed_precision != "no":
        plugin.set_mixed_precision(state._mixed_precision)
    state.fsdp_plugin = plugin


def _made(original: Callable[..., Any], accelerator: Any, *args: Any, **kwargs: Any) -> None:
    if devices.on_cpu():
        wanted = str(kwargs.get("mixed_precision") or os.environ.get("ACCELERATE_MIXED_PRECISION", "no"))
        if wanted.rpartition(".")[2] in ("fp16", "fp8"):
            kwargs["mixed_precision"] = "bf16"
            telling.small("`fp16` and `fp8` need a GPU: the job runs in bf16.")
    steps = kwargs.get("gradient_accumulation_steps")
    if isinstance(steps, int) and steps > reductions.ACCUMULATION:
        kwargs["gradient_accumulation_steps"] = reductions.ACCUMULATION
        telling.small(f"`gradient_accumulation_steps` is {reductions.ACCUMULATION} instead of {steps}.")
    if kwargs.pop("log_with", None):
        telling.small("Loggers are off.")
    original(accelerator, *args, **kwargs)


def _save_state(
    original: Callable[..., Any], accelerator: Any, output_dir: Any = None, *args: Any, **kwargs: Any
) -> Any:
    return original(accelerator, saving.elsewhere(output_dir or "state"), *args, **kwargs)


def _save_model(
    original: Callable[..., Any], accelerator: Any, model: Any, path: Any, *args: Any, **kwargs: Any
) -> Any:
    return original(accelerator, model, saving.elsewhere(path), *args, **kwargs)


def _load_state(original: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    telling.small("The job begins anew: it does not resume from a checkpoint.")
