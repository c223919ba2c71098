"""LLaMA-Factory: its method in the place of the model's own that switches checkpointing on."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from ..functions import FunctionUnavailableError, pass_to


def enable(module: Any, model: torch.nn.Module, name: str, reentrant: bool) -> None:
    """As ``prepare_model_for_training`` does; ``use_reentrant_gc`` is true by default."""
    is_unsloth = name == "llamafactory:unsloth"
    if hasattr(model, "_set_gradient_checkpointing"):
        more = {"use_unsloth_gc": True} if is_unsloth else {}
        module._gradient_checkpointing_enable(model, {"use_reentrant": reentrant}, **more)
        return
    if not hasattr(module, "get_custom_gradient_checkpointing_func"):
        raise FunctionUnavailableError("this LLaMA-Factory makes its function for models of transformers only")
    inner = module.get_unsloth_gradient_checkpointing_func() if is_unsloth else None
    inner = inner or functools.partial(checkpoint, use_reentrant=reentrant)
    pass_to(model, module.get_custom_gradient_checkpointing_func(inner))
