"""The job's calls of its model: which of them belong to training."""

from __future__ import annotations

import torch


class Passes:
    """Tells forward passes of training from evaluation, sampling and references.

    A pass without gradients is none of training. One in eval mode may be, in a job that forgot ``train()``; where passes in
    train mode come before the same backward, it is an evaluation.
    """

    def __init__(self) -> None:
        self.number = 0
        """Of the latest pass."""
        self._has_graph: list[bool] = []
        """Of the passes that are going on, whether gradients were on when they began."""
        self._since_backward: dict[int, bool] = {}
        """Passes since the last backward, and whether each is in train mode."""

    def began(self, is_training: bool) -> None:
        """The job calls the model."""
        self._has_graph.append(torch.is_grad_enabled())
        if torch.is_grad_enabled():
            self.number += 1
            self._since_backward[self.number] = is_training

    def ended(self) -> None:
        """The model returned, or raised an error."""
        if self._has_graph:
            self._has_graph.pop()

    def count(self) -> bool:
        """Whether a layer that runs now is in a pass of training. Reentrant checkpointing turns gradients off inside of one."""
        return self._has_graph[-1] if self._has_graph else torch.is_grad_enabled()

    def evaluations(self, is_over: bool = False) -> set[int]:
        """Passes before a backward that are evaluations; with ``is_over``, no backward comes any more in this step."""
        passes, self._since_backward = self._since_backward, {}
        return {
            number for number, is_training in passes.items() if not is_training and (is_over or any(passes.values()))
        }
