"""Activation checkpointing as FSDP's own setting switches it on: torch's ``checkpoint_wrapper`` around layers.

accelerate does it for ``fsdp_config.activation_checkpointing``. It replaces modules by wrappers, where transformers' own
checkpointing passes layers to a function. The two do not know of each other.
"""

from __future__ import annotations

import functools
import os
from typing import Any

import torch

from . import stack

INSIDE = ("_checkpoint_wrapped_module.", "_fsdp_wrapped_module.", "_orig_mod.")
"""What wrappers add to the names of the parameters inside of them."""


def plain_name(name: str) -> str:
    """A parameter's name as the model itself has it, without what wrappers add."""
    for part in INSIDE:
        name = name.replace(part, "")
    return name


def around_layers(model: torch.nn.Module, layers: dict[str, torch.nn.Module]) -> None:
    """Wrap each layer."""
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import apply_activation_checkpointing

    wanted = {id(layer) for layer in layers.values()}
    apply_activation_checkpointing(
        model, checkpoint_wrapper_fn=_non_reentrant(), check_fn=lambda module: id(module) in wanted
    )


def as_accelerate_under_fsdp2(model: torch.nn.Module, layers: dict[str, torch.nn.Module]) -> None:
    """Wrap what accelerate wraps under FSDP2 (``fsdp2_apply_ac``): each child of each layer, since 1.15 each layer."""
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

    for name, layer in layers.items():
        if _wraps_layers():
            model.set_submodule(name, checkpoint_wrapper(layer, preserve_rng_state=False))
            continue
        for name, child in list(layer.named_children()):
            layer.register_module(name, checkpoint_wrapper(child, preserve_rng_state=False))


def _wraps_layers() -> bool:
    """Whether the installed accelerate asks its policy about a module itself, and not about the module above."""
    file = os.path.join(stack.root_of("accelerate"), "utils", "fsdp_utils.py")
    try:
        with open(file, encoding="utf-8") as handle:
            return "if auto_wrap_policy_func(layer)" in handle.read()
    except OSError:
        return False


def _non_reentrant() -> Any:
    """What accelerate passes under FSDP1 (since 0.22)."""
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import CheckpointImpl, checkpoint_wrapper

    return functools.partial(checkpoint_wrapper, checkpoint_impl=CheckpointImpl.NO_REENTRANT)


def all_in(model: torch.nn.Module) -> list[Any]:
    """The wrappers in a model; each has the function that it calls as ``checkpoint_fn``."""
    return [module for module in model.modules() if hasattr(module, "_checkpoint_wrapped_module")]
