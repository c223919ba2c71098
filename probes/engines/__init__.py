"""What wraps the model for training: a file for each kind of engine, of the name of its record in the catalog.

Each has one function::

    def wrap(model, layers, settings, **options) -> Engine

``layers`` are the model's decoder layers by name; ``options`` what the record says that the engine's name stands for.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch

from .. import catalog, wrapper
from .. import ranks as launch


class EngineUnavailableError(Exception):
    """The target or the machine cannot run this engine."""


class Settings(NamedTuple):
    """What an engine is set up with."""

    batch: int
    """Sequences in a batch, a rank."""
    precision: str = "fp32"
    deepspeed: str = ""
    """The job's own configuration of DeepSpeed, as JSON."""
    ranks: int = 1
    micro_batches: int = 1
    """Backward passes between two optimizer steps."""
    wraps_layers: bool = False
    """The engine's own activation checkpointing is on: layers go into torch's ``checkpoint_wrapper``."""


class Engine:
    """No engine: the model itself."""

    share = 1.0
    """The part of a micro-batch's gradient that is accumulated."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.model = model

    def forward(self, inputs: dict[str, Any]) -> Any:
        """The model's output for a batch, with its loss."""
        return self.model(**inputs)

    def backward(self, loss: torch.Tensor) -> None:
        """Backpropagate a scalar loss."""
        loss.backward()

    @contextlib.contextmanager
    def micro_batch(self, is_last: bool) -> Iterator[None]:
        """Accumulate the gradients of a forward and backward pass: ranks exchange them after the last one only."""
        no_sync = getattr(self.model, "no_sync", None)
        with contextlib.nullcontext() if is_last or no_sync is None else no_sync():
            yield

    def step(self, rate: float) -> None:
        """Move the weights by plain SGD."""
        torch.optim.SGD([one for one in self.model.parameters() if one.requires_grad], lr=rate).step()

    def gathered(self) -> Any:
        """A context in which ``gradient`` is asked, for an engine that gathers all parameters at once."""
        return contextlib.nullcontext()

    def gradient(self, parameter: torch.nn.Parameter) -> torch.Tensor | None:
        """The whole gradient of a parameter, in its own shape."""
        return parameter.grad


def averaged(
    gradients: dict[str, torch.Tensor | None], model: torch.nn.Module, ranks: int
) -> dict[str, torch.Tensor | None]:
    """What data parallelism makes of the gradients of several ranks: their mean, each rank having a batch of its own."""
    if ranks == 1:
        return gradients
    process_group(ranks)
    shapes = dict(model.named_parameters())
    found: dict[str, torch.Tensor | None] = {}
    for name, gradient in gradients.items():
        total = torch.zeros_like(shapes[name], dtype=torch.float32) if gradient is None else gradient.clone()
        torch.distributed.all_reduce(total)
        found[name] = total / ranks if bool(total.any()) else None
    return found


def wrap(name: str, model: torch.nn.Module, layers: dict[str, torch.nn.Module], settings: Settings) -> Engine:
    """Wrap a model in the engine of that name, a key of ``catalog.ENGINES``.

    Raises:
        EngineUnavailableError: The target or the machine cannot run it.
    """
    record = catalog.ENGINES[name]
    module = importlib.import_module(f".{record['module']}", __name__)
    if settings.wraps_layers and not getattr(module, "WRAPS_LAYERS", False):
        wrapper.around_layers(model, layers)
    made: Engine = module.wrap(model, layers, settings, **record["options"])
    return made


def process_group(ranks: int) -> None:
    """The process group of the probe's ranks, or one of this process alone, over a store in memory."""
    if sys.platform == "linux":
        # Gloo otherwise looks up the machine's own name, which fails on machines without a proper one.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    if torch.distributed.is_initialized():
        return
    nccl = torch.cuda.is_available() and torch.distributed.is_nccl_available()
    backend = "nccl" if nccl and torch.cuda.device_count() >= ranks else "gloo"
    if ranks > 1:
        store = torch.distributed.FileStore(os.environ[launch.STORE], ranks)
        torch.distributed.init_process_group(backend, store=store, rank=int(os.environ["RANK"]), world_size=ranks)
        return
    os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", MASTER_ADDR="127.0.0.1", MASTER_PORT="29500")
    torch.distributed.init_process_group(backend, store=torch.distributed.HashStore(), rank=0, world_size=1)
