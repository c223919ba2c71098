"""torch's ``fully_shard`` on each layer and on the whole model, as accelerate and torchtitan use it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from .. import tuning, wrapper
from . import Engine, EngineUnavailableError, Settings, process_group

WRAPS_LAYERS = True
"""accelerate wraps layers for checkpointing before it shards them."""


def wrap(model: torch.nn.Module, layers: dict[str, torch.nn.Module], settings: Settings, precision: str) -> Engine:
    """The model with its parameters sharded.

    Args:
        model: The model, with its parameters in fp32.
        layers: Its layers, by their names in the model without an adapter; each is gathered and freed by itself.
        settings: Of the step.
        precision: Of the parameters in forward and backward; gradients are reduced in fp32.

    Raises:
        EngineUnavailableError: This torch has no ``fully_shard``.
    """
    fully_shard, policy_class = _imported()
    process_group(settings.ranks)
    from torch.distributed.device_mesh import init_device_mesh

    mesh = init_device_mesh(next(model.parameters()).device.type, (settings.ranks,))
    dtype = tuning.PRECISIONS[precision]
    policy = policy_class(param_dtype=None if precision == "fp32" else dtype, reduce_dtype=torch.float32)
    named_in = tuning.base_of(model)
    if settings.wraps_layers:
        wrapper.as_accelerate_under_fsdp2(named_in, layers)
    # accelerate looks through a wrapper and shards both, the inner one first.
    wrapped = [module for name in layers if (module := named_in.get_submodule(name)) is not layers[name]]
    for layer in (*layers.values(), *wrapped):
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy)
    return FullyShard(model)


def _imported() -> tuple[Any, Any]:
    try:
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
    except ImportError:
        try:  # where torch 2.4 and 2.5 have it
            from torch.distributed._composable.fsdp import MixedPrecisionPolicy, fully_shard
        except ImportError as error:
            why = f"torch {torch.__version__} has no fully_shard: FSDP2 needs torch 2.4 or later"
            raise EngineUnavailableError(why) from error
    return fully_shard, MixedPrecisionPolicy


class FullyShard(Engine):
    """A model whose parameters are sharded tensors."""

    @contextlib.contextmanager
    def micro_batch(self, is_last: bool) -> Iterator[None]:
        """Reduce gradients after the last micro-batch only, as accelerate does it."""
        self.model.set_requires_gradient_sync(is_last)
        self.model.set_is_last_backward(is_last)
        yield

    def gradient(self, parameter: torch.nn.Parameter) -> torch.Tensor | None:
        """The gradient of all shards."""
        whole = getattr(parameter.grad, "full_tensor", None)
        gathered: torch.Tensor | None = whole() if whole is not None else parameter.grad
        return gathered


def warm_up() -> None:
    """Import what the first sharding imports late."""
    with contextlib.suppress(Exception):
        _imported()
        import torch.distributed.algorithms._checkpoint.checkpoint_wrapper
        import torch.distributed.device_mesh
        import torch.distributed.tensor  # noqa: F401
