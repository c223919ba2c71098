"""TRL's activation offloading: hooks for what autograd saves, in force around every training step, recomputation included."""

from __future__ import annotations

import functools
from typing import Any
from unittest import mock

import torch
from torch.utils.checkpoint import checkpoint

from .. import stand_in
from ..functions import NeedsGpuError, enable_torch, pass_to


def enable(module: Any, model: torch.nn.Module, name: str, reentrant: bool) -> Any:
    """As ``activation_offloading=True`` does, with checkpointing switched on by Trainer."""
    if hasattr(model, "_set_gradient_checkpointing"):
        enable_torch(model, use_reentrant=reentrant)
    else:
        pass_to(model, functools.partial(checkpoint, use_reentrant=reentrant))
    return _manager(module, model)


def _manager(module: Any, model: torch.nn.Module) -> Any:
    """Its context. Without a GPU, one that takes the CPU for the accelerator: saved tensors are moved by its own code."""
    if torch.cuda.is_available():
        return module.get_act_offloading_ctx_manager(model=model)
    if not stand_in.IS_ON:
        raise NeedsGpuError("it offloads from an accelerator")
    with mock.patch.object(torch.accelerator, "current_accelerator", return_value=torch.device("cpu")):
        manager = module.get_act_offloading_ctx_manager(model=model, use_streams=False, use_pin_memory=False)
    if not hasattr(manager, "device_module"):
        raise NeedsGpuError("this release offloads from a GPU alone")  # it leaves every other tensor where it is
    return manager
