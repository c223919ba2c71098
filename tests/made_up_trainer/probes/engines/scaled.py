"""A loss that is scaled for backward, as training in fp16 does."""

from __future__ import annotations

import torch

from . import Engine, Settings


def wrap(model: torch.nn.Module, layers: dict[str, torch.nn.Module], settings: Settings, factor: int) -> Engine:
    """The model with a loss that is scaled by a factor."""
    return Scaled(model, factor)


class Scaled(Engine):
    """Scales the loss, and its gradients back."""

    def __init__(self, model: torch.nn.Module, factor: int) -> None:
        super().__init__(model)
        self.factor = factor

    def backward(self, loss: torch.Tensor) -> None:
        """Backpropagate the scaled loss."""
        (loss * self.factor).backward()

    def gradient(self, parameter: torch.nn.Parameter) -> torch.Tensor | None:
        """The gradient of the loss itself."""
        return None if parameter.grad is None else parameter.grad / self.factor
