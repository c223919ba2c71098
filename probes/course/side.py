"""A model that takes steps, with checkpointing or without, and what is seen of a step."""

from __future__ import annotations

import contextlib
import gc
import threading
from typing import Any, Callable, NamedTuple

import torch

from .. import memory, models, surroundings, tiny_inputs, tuning, watch
from .conditions import as_it_is
from .situations import Situation


class Taken(NamedTuple):
    """The result of a step on one side."""

    loss: float
    gradients: dict[str, Any]
    seen: watch.Seen
    saved: int
    held: int
    grew: int
    changed: list[str]
    drawn: dict[str, Any]
    """The states of random number generators after forward."""


class Side:
    """A model that takes steps, and what is seen of it."""

    def __init__(self, model: models.Model, device: torch.device) -> None:
        self.model, self.module, self.device = model, model.module, device
        self.insides = watch.Insides(model.layers)
        self.is_watched = False
        """Whether to note what a step leaves changed."""
        self.keeps_grad_mode = True
        self.more_inputs: dict[str, Any] = {}
        self.more_gradients: dict[str, Callable[[], Any]] = {}

    def take(self, situation: Situation, batches: list[dict[str, Any]], tell: Callable[[str], None]) -> Taken:
        """Take a step; the weights stay."""
        self.module.zero_grad(set_to_none=True)
        self.insides.take()
        is_large = "large" in situation.batches
        used = memory.in_use() if is_large else None
        surroundings.seed()
        with (situation.setting or as_it_is)(self):
            before = surroundings.take(self.module) if self.is_watched else {}
            tell("forward")
            in_use = memory.in_use() if is_large else None
            saved = watch.SavedBytes(self.module)
            losses = self._forward(situation, batches, saved)
            held = (memory.in_use() or 0) - (in_use or 0) if is_large else 0
            self.insides.forward_is_over()
            loss = float(losses.detach())
            drawn = surroundings.randomness()
            torch.rand(1)  # a batch is drawn, dropout masks are
            before = {**before, **(surroundings.randomness() if before else {})}
            tell("backward")
            if not situation.without_gradients:
                _backward(losses * situation.scale, situation.in_thread)
                self.insides.backward_is_over()
            del losses
            changed = surroundings.changed(before, surroundings.take(self.module)) if before else []
            changed += [] if self.keeps_grad_mode else ["the grad mode"]
            gradients = self._gradients()
        self.module.zero_grad(set_to_none=True)
        seen = self.insides.take()
        del before
        grew = 0
        if is_large:
            gc.collect()
            grew = (memory.in_use() or 0) - (used or 0) - sum(_bytes(one) for one in gradients.values())
        return Taken(loss, gradients, seen, saved.total, held, grew, changed, drawn)

    def _forward(self, situation: Situation, batches: list[dict[str, Any]], saved: watch.SavedBytes) -> torch.Tensor:
        if situation.in_evaluation:
            self.module.eval()
        try:
            with contextlib.ExitStack() as stack:
                if situation.is_measured:
                    stack.enter_context(saved.hooks())
                if situation.without_gradients:
                    stack.enter_context(torch.no_grad())
                stack.enter_context(tuning.arithmetic(situation.precision, self.device.type, False))
                losses = [self.module(**{**tiny_inputs.fresh(batch), **self.more_inputs}).loss for batch in batches]
                self.keeps_grad_mode = torch.is_grad_enabled() != situation.without_gradients
                return torch.stack(losses).sum()
        finally:
            if situation.in_evaluation:
                self.module.train()

    def _gradients(self) -> dict[str, Any]:
        own = {name: one.grad for name, one in self.module.named_parameters() if one.requires_grad}
        frozen = {
            name: one.grad
            for name, one in self.module.named_parameters()
            if not one.requires_grad and one.grad is not None
        }
        more = {name: look() for name, look in self.more_gradients.items()}
        return {
            name: None if one is None else one.detach().float().clone()
            for name, one in {**own, **frozen, **more}.items()
        }


def _bytes(tensor: Any) -> int:
    return 0 if tensor is None else int(tensor.nbytes)


def _backward(loss: torch.Tensor, in_thread: bool) -> None:
    if not in_thread:
        loss.backward()
        return
    raised: list[BaseException] = []

    def run() -> None:
        try:
            loss.backward()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]
