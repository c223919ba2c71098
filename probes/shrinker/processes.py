"""Fewer processes, whoever starts them through torch's launcher; and a backend for this machine."""

from __future__ import annotations

import uuid
from typing import Any, Callable

from . import telling
from .wrapping import wrap

RANKS = 2
"""Ranks of a job that has more than one."""


def act_on_launcher(module: Any) -> None:
    """Torch's launcher: that of ``torchrun``, of accelerate and of trainers' own programs."""
    wrap(module, "launch_agent", _launch)


def act_on_groups(module: Any) -> None:
    """``init_process_group``."""
    wrap(module, "init_process_group", _init)


def act_on_fsdp1(module: Any) -> None:
    """FSDP1, which takes the CPU without a number."""
    wrap(module.FullyShardedDataParallel, "__init__", _sharded)


def _sharded(original: Callable[..., Any], wrapper: Any, *args: Any, **kwargs: Any) -> None:
    import torch

    if str(kwargs.get("device_id")).startswith("cpu"):
        kwargs["device_id"] = torch.device("cpu")
    original(wrapper, *args, **kwargs)


def _launch(original: Callable[..., Any], config: Any, *args: Any, **kwargs: Any) -> Any:
    nodes, each = int(config.max_nodes), int(config.nproc_per_node)
    if nodes > 1 or each > RANKS:
        config.min_nodes = config.max_nodes = 1
        config.nproc_per_node = min(RANKS, nodes * each)
        telling.small(f"The job has {config.nproc_per_node} ranks instead of {nodes * each}, on this machine.")
        if nodes > 1:
            config.rdzv_backend, config.rdzv_endpoint, config.run_id = "c10d", "localhost:0", str(uuid.uuid4())
            config.rdzv_configs = {key: value for key, value in config.rdzv_configs.items() if key != "rank"}
    config.max_restarts = 0
    return original(config, *args, **kwargs)


def _init(original: Callable[..., Any], backend: Any = None, *args: Any, **kwargs: Any) -> Any:
    from . import devices

    if isinstance(backend, str) and "nccl" in backend and devices.on_cpu():
        telling.small("NCCL needs GPUs: gloo is used.")
        backend = "gloo"
        kwargs.pop("device_id", None)
    return original(backend, *args, **kwargs)
