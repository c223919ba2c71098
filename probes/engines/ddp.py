"""torch's DistributedDataParallel: a whole model in each rank, gradients averaged in backward."""

from __future__ import annotations

import torch

from . import Engine, Settings, process_group


def wrap(model: torch.nn.Module, layers: dict[str, torch.nn.Module], settings: Settings, unused: bool) -> Engine:
    """The model in DistributedDataParallel.

    Args:
        model: The model, on the rank's device.
        layers: Its layers.
        settings: Of the step.
        unused: ``find_unused_parameters``.
    """
    process_group(settings.ranks)
    device = next(model.parameters()).device
    return Engine(
        torch.nn.parallel.DistributedDataParallel(
            model,
            device_ids=[device] if device.type == "cuda" else None,
            find_unused_parameters=unused,
        )
    )


def warm_up() -> None:
    """Import what the first wrapping imports late."""
    import torch.distributed
    import torch.nn.parallel.distributed  # noqa: F401
