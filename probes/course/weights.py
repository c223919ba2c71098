"""Weights of the two sides: moved from step to step, and equal on both."""

from __future__ import annotations

import torch

from .side import Side, Taken
from .situations import Situation

STEP = 0.05
"""Norm by which the weights move between steps."""


def move(plain: Side, checkpointed: Side, taken: Taken, situation: Situation) -> None:
    """Change the weights of both sides as an optimizer does: in place, and by the same.

    Args:
        plain: The side without checkpointing.
        checkpointed: The side with it.
        taken: The plain side's step, whose gradients are followed.
        situation: What was particular about the step.
    """
    gradients = {name: one for name, one in taken.gradients.items() if one is not None and bool(one.isfinite().all())}
    norm = float(torch.sqrt(sum((one.pow(2).sum() for one in gradients.values()), torch.zeros(()))))
    if situation.without_gradients or not gradients or not 0 < norm < float("inf"):
        return
    with torch.no_grad():
        for name, parameter in plain.module.named_parameters():
            if name in gradients:
                parameter.add_(gradients[name].to(parameter.device), alpha=-STEP / norm)
    copy(plain.module, checkpointed.module)


def copy(source: torch.nn.Module, to: torch.nn.Module) -> None:
    """Give a model the weights of another."""
    with torch.no_grad():
        for one, other in zip(to.parameters(), source.parameters()):
            one.copy_(other)
