"""Steps that consist of several: gradients of two micro-batches, and the step after an optimizer step."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from . import watch
from .step import Step

STEP = 0.05
"""Norm by which the weights move."""


class Accumulated(Step):
    """Two micro-batches, accumulated as the engine does it, against the sum of the two plain gradients."""

    micro_batches = 2

    def _build(self) -> None:
        super()._build()
        other = dict(self.inputs)
        other["labels"] = other["labels"].roll(1, -1)  # [B, T]: the same text with other gradients
        self.batches = [self.inputs, other]

    def _plain(self) -> tuple[dict[str, Any], int, watch.Seen]:
        gradients: dict[str, Any] = {}
        for batch in self.batches:
            self.inputs = batch
            plain, saved, seen = super()._plain()
            gradients = {name: _sum(gradients.get(name), one) for name, one in plain.items()}
        return gradients, saved, seen

    def _checkpointed(self) -> int:
        saved = 0
        for batch in self.batches:
            self.inputs, is_last = batch, batch is self.batches[-1]
            self.insides.take()
            with self.engine.micro_batch(is_last):
                saved = super()._checkpointed()
        return saved

    def _gradients(self) -> dict[str, Any]:
        gradients = super()._gradients().items()
        return {name: None if one is None else one / self.engine.share for name, one in gradients}

    def _is_of_interest(self) -> bool:
        return False

    def _can_tell(self) -> bool:
        return False


class Second(Step):
    """The step after an optimizer step, against the plain step from weights that moved the same way."""

    def _plain(self) -> tuple[dict[str, Any], int, watch.Seen]:
        first, *_ = super()._plain()
        norm = torch.sqrt(sum((one.pow(2).sum() for one in first.values() if one is not None), torch.zeros(())))
        self.rate = STEP / max(float(norm), 1e-12)
        with self._moved(first):
            return super()._plain()

    @contextlib.contextmanager
    def _moved(self, gradients: dict[str, Any]) -> Iterator[None]:
        """The weights after a step of plain SGD; the original ones come back."""
        parameters = dict(self.model.module.named_parameters())
        before = {name: one.detach().clone() for name, one in parameters.items()}
        with torch.no_grad():
            for name, gradient in gradients.items():
                if gradient is not None:
                    parameters[name].add_(gradient.to(parameters[name]), alpha=-self.rate)
        yield
        with torch.no_grad():
            for name, one in parameters.items():
                one.copy_(before[name])

    def _checkpointed(self) -> int:
        super()._checkpointed()
        self.engine.step(self.rate)
        self.model.module.zero_grad(set_to_none=True)
        self.insides.take()
        return super()._checkpointed()

    def _is_of_interest(self) -> bool:
        return False

    def _can_tell(self) -> bool:
        return False


def _sum(one: torch.Tensor | None, other: torch.Tensor | None) -> torch.Tensor | None:
    return other if one is None else one if other is None else one + other
