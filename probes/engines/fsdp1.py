"""torch's FullyShardedDataParallel around each layer, and around the whole model, as accelerate uses it."""

from __future__ import annotations

import functools
from typing import Any

import torch

from .. import tuning, wrapper
from . import Engine, Settings, process_group

WRAPS_LAYERS = True
"""accelerate wraps layers for checkpointing after it has sharded them."""


def wrap(
    model: torch.nn.Module, layers: dict[str, torch.nn.Module], settings: Settings, precision: str, each_layer: bool
) -> Engine:
    """The model with its parameters sharded in flat tensors.

    Args:
        model: The model, with its parameters in fp32.
        layers: Its layers.
        settings: Of the step.
        precision: Of the parameters in forward and backward; gradients are reduced in fp32.
        each_layer: A flat tensor for each layer, as with an ``auto_wrap_policy``, or one for the whole model.
    """
    from torch.distributed.fsdp import FullyShardedDataParallel, MixedPrecision

    process_group(settings.ranks)
    device = next(model.parameters()).device
    dtype = tuning.PRECISIONS[precision]
    sharded = FullyShardedDataParallel(
        model,
        auto_wrap_policy=functools.partial(_is_one_of, {id(layer) for layer in layers.values()})
        if each_layer
        else None,
        mixed_precision=None if precision == "fp32" else MixedPrecision(param_dtype=dtype, reduce_dtype=torch.float32),
        use_orig_params=True,
        device_id=device,
    )
    if settings.wraps_layers:
        wrapper.around_layers(sharded, layers)
    return FullyShardedEngine(sharded)


def _is_one_of(wanted: set[int], module: torch.nn.Module, recurse: bool, **more: Any) -> bool:
    """An ``auto_wrap_policy``: go into every module, and wrap those that are wanted."""
    return recurse or id(module) in wanted


class FullyShardedEngine(Engine):
    """A model under FullyShardedDataParallel."""

    def gathered(self) -> Any:
        """All parameters and gradients as they are without sharding."""
        from torch.distributed.fsdp import FullyShardedDataParallel

        return FullyShardedDataParallel.summon_full_params(self.model, writeback=False, with_grads=True)


def warm_up() -> None:
    """Import what the first wrapping imports late."""
    import torch.distributed.fsdp  # noqa: F401
