"""Memory that stays in use after each layer of a forward pass, against what the layer needs."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, Callable

import torch

from .. import memory

if TYPE_CHECKING:
    from .runs import Run


def measure(devices: Sequence[int]) -> Callable[[], int | None]:
    """How to read the bytes in use: of the GPUs that hold the layers; of the host if they are there."""
    return (lambda: sum(map(_on_device, devices))) if devices else memory.in_use


def _on_device(index: int) -> int:
    found: dict[str, Any] = torch.cuda.memory_stats_as_nested_dict(index)
    return int(found["allocated_bytes"]["all"]["current"]) if found else 0


def peak(devices: Sequence[int]) -> int:
    """The most bytes of GPUs that were in use so far."""
    return sum(int(torch.cuda.max_memory_allocated(index)) for index in devices)


def evidence(runs: Sequence[Run], wanted: Collection[str]) -> dict[str, int] | None:
    """Medians over the layers of the first forward pass; nothing where fewer than two can be told.

    Returns:
        Bytes that stay in use after a layer (``each``), of its output (``output``), that the layer takes while it runs again
        (``again``: what it would keep without checkpointing; 0 where it did not run again), and the number of layers.
    """
    forward: list[Run] = []
    for run in runs:
        if run.is_again or (forward and run.layer == forward[0].layer):
            break
        forward.append(run)
    pairs = [(one, other) for one, other in zip(forward, forward[1:]) if one.layer in wanted and other.layer in wanted]
    grown = [other.held - one.held for one, other in pairs if one.held is not None and other.held is not None]
    if len(grown) < 2:
        return None
    again = [run.most_held - run.held for run in runs if run.is_again and run.held is not None and run.most_held]
    return {
        "each": int(statistics.median(grown)),
        "output": int(statistics.median(one.output_bytes for one, _ in pairs)),
        "again": int(statistics.median(again)) if again else 0,
        "layers": len(grown),
    }
