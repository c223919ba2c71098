"""Overbake: its function in the place of the model's own."""

from __future__ import annotations

from typing import Any

import torch

from ..functions import pass_to


def enable(module: Any, model: torch.nn.Module, name: str, reentrant: bool) -> None:
    """As its ``run`` command does."""
    pass_to(model, module.checkpoint_layer)
