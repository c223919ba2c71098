"""Activation checkpointing as FSDP's own setting switches it on: torch's ``checkpoint_wrapper`` around layers.

accelerate does it for ``fsdp_config.activation_checkpointing``. It replaces modules by wrappers, where transformers' own
checkpointing passes layers to a function. The two do not know of each other.
"""

from __future__ import annotations

import functools
from typing import Any

import torch

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


def around_children(layers: dict[str, torch.nn.Module]) -> None:
    """Wrap each child of each layer, as accelerate does under FSDP2 (since 1.8, ``fsdp2_apply_ac``)."""
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

    for layer in layers.values():
        for name, child in list(layer.named_children()):
            layer.register_module(name, checkpoint_wrapper(child, preserve_rng_state=False))


def _non_reentrant() -> Any:
    """What accelerate passes under FSDP1 (since 0.22)."""
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import CheckpointImpl, checkpoint_wrapper

    return functools.partial(checkpoint_wrapper, checkpoint_impl=CheckpointImpl.NO_REENTRANT)


def all_in(model: torch.nn.Module) -> list[Any]:
    """The wrappers in a model; each has the function that it calls as ``checkpoint_fn``."""
    return [module for module in model.modules() if hasattr(module, "_checkpoint_wrapped_module")]
