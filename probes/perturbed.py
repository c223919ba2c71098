"""Whether what a layer saves for backward depends on values: recomputation with other values would then save other tensors.

Each layer runs again with the inputs of a plain forward pass, changed a little or a lot. A checkpoint function of someone's
own is called with changed inputs too: between the forward and the backward pass.
"""

from __future__ import annotations

import functools
import os
import sys
from types import FrameType
from typing import Any, Callable, NamedTuple

import torch

from . import models, places, surroundings, tiny_glm4, tiny_inputs
from .step import Step

ROUNDING = 2.0**-8
"""Largest relative error of a number that is rounded to bf16, which keeps eight bits of it."""

TRIALS = 8
"""Runs with inputs that are changed within rounding."""

SCALES = (1.0, 8.0, 0.125)
"""Scales of quite other inputs, in standard deviations of the right ones."""

TORCH = os.path.dirname(torch.__file__) + os.sep

BATCH = (16, 64)
"""Sequences and tokens: among so many tokens, some lie close to where a branch goes the other way."""


class Saved(NamedTuple):
    """A tensor that a run saves for backward."""

    shape: str
    """And its type."""
    file: str
    """The line of the layer that saved it."""
    line: int
    function: str


class Perturbed(Step):
    """Runs layers with changed inputs, and a checkpointed step whose layers get changed inputs in recomputation."""

    def run(self) -> None:
        """Every layer, then the function."""
        torch.set_num_threads(1)
        surroundings.seed_torch(self.spec["seed"])
        self._enter("build")
        self._build()
        batch = models.with_settings(self.spec["model"], tiny_inputs.padded(*BATCH))
        self.batch = {name: one.to(self.device) if torch.is_tensor(one) else one for name, one in batch.items()}
        self._enter("plain")
        calls = self._calls()
        found = [one for name, call in calls.items() if (one := self._depends(name, *call)) is not None]
        self.evidence["value_dependent"] = found
        if not found:
            self._enter("enable")
            self._enable()
            self._enter("plain")  # what fails from here on is no fault that other values show
            self.evidence["value_dependent"] = self._function_depends()
        self._enter("")

    def _calls(self) -> dict[str, tuple[tuple[Any, ...], dict[str, Any]]]:
        """The arguments with which each layer is called in a forward pass; of layers that get a tensor first."""
        calls: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {}
        hooks = [
            layer.register_forward_pre_hook(functools.partial(_note, calls, name), with_kwargs=True)
            for name, layer in self.model.layers.items()
        ]
        with torch.no_grad():
            self.model.module(**tiny_inputs.fresh(self.batch))
        for hook in hooks:
            hook.remove()
        return calls

    def _depends(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any] | None:
        """Evidence on a layer that saves other shapes for other inputs; nothing for one that does not."""
        layer, hidden = self.model.layers[name], args[0]

        def run(changed: torch.Tensor) -> list[Saved]:
            return _saved(lambda: layer(changed.detach().clone().requires_grad_(), *args[1:], **kwargs))

        first = run(hidden)
        if _differ(first, run(hidden)) is not None:
            return None  # it depends on chance
        others = [other for scale in SCALES if _differ(first, other := run(_other(hidden, scale))) is not None]
        if not others:
            return None
        near = [run(_rounded(hidden, seed)) for seed in range(TRIALS)]
        changed = [other for other in near if _differ(first, other) is not None]
        shown = _difference(first, (changed or others)[0])
        return {"layer": name, "type": type(layer).__name__, **_counted(hidden, len(changed)), **shown}

    def _function_depends(self) -> list[dict[str, Any]]:
        """The same of the checkpoint function: torch compares what it saves in recomputation."""
        try:
            hidden = self._checkpointed_with(lambda one: one)
        except Exception as error:  # the usual step tells
            raise models.ModelUnavailableError(f"the step fails without other values too: {error}") from error
        quite_other = [self._fails(functools.partial(_other, scale=scale)) for scale in SCALES]
        if hidden is None or not any(quite_other):
            return []
        near = [self._fails(functools.partial(_rounded, seed=seed)) for seed in range(TRIALS)]
        message = next(filter(None, [*near, *quite_other]))
        return [{"layer": "", "type": "", **_counted(hidden, sum(map(bool, near))), "raised": message}]

    def _fails(self, change: Callable[[torch.Tensor], torch.Tensor]) -> str:
        """The first line of torch's error on a step whose last layer is recomputed with a changed input; or nothing."""
        try:
            self._checkpointed_with(change)
        except Exception as error:
            if type(error).__name__ == "CheckpointError":
                return next((line for line in str(error).splitlines() if line), "CheckpointError")
        return ""

    def _checkpointed_with(self, change: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor | None:
        """Take a step; what the last layer got, which is changed before backward."""
        surroundings.seed_torch(self.spec["seed"])
        self.model.module.zero_grad(set_to_none=True)
        loss = self.model.module(**tiny_inputs.fresh(self.batch)).loss
        passed = self.spy.call.args if self.spy.call else ()
        self.spy.call = None
        hidden = next((one for one in passed if torch.is_tensor(one) and one.is_floating_point()), None)
        if hidden is not None:
            hidden.data.copy_(change(hidden.data))  # without autograd's notice, as another value would come
        loss.backward()
        return hidden


def _note(
    calls: dict[str, tuple[tuple[Any, ...], dict[str, Any]]],
    name: str,
    module: torch.nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> None:
    hidden, rest = (args[0], args[1:]) if args else (kwargs.get("hidden_states"), ())
    if isinstance(hidden, torch.Tensor) and hidden.is_floating_point():
        more = {key: value for key, value in kwargs.items() if key != "hidden_states" or args}
        calls[name] = (hidden, *rest), more


def _other(hidden: torch.Tensor, scale: float) -> torch.Tensor:
    """A quite other input, the same each time."""
    return torch.randn(hidden.shape, generator=_generator(int(8 * scale))).to(hidden) * hidden.std() * scale


def _rounded(hidden: torch.Tensor, seed: int) -> torch.Tensor:
    """The input as it may come out of rounding to bf16."""
    noise = 2 * torch.rand(hidden.shape, generator=_generator(seed)) - 1
    return hidden * (1 + ROUNDING * noise.to(hidden))


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _saved(run: Callable[[], Any]) -> list[Saved]:
    """What a run saves for backward."""
    found: list[Saved] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        found.append(Saved(f"{list(tensor.shape)} {str(tensor.dtype).rpartition('.')[2]}", *_line()))
        return tensor

    surroundings.seed_torch(0)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    return found


def _line() -> tuple[str, int, str]:
    """The innermost line outside of torch and of the probes."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        file = frame.f_code.co_filename
        is_own_model = file == tiny_glm4.__file__
        if is_own_model or not (file.startswith(TORCH) or places.is_ours(file)):
            return file, frame.f_lineno, getattr(frame.f_code, "co_qualname", frame.f_code.co_name)
        frame = frame.f_back
    return "", 0, ""


def _differ(one: list[Saved], other: list[Saved]) -> int | None:
    """Where two runs first differ in what they save; nothing where they do not."""
    for index, (left, right) in enumerate(zip(one, other)):
        if left.shape != right.shape:
            return index
    return min(len(one), len(other)) if len(one) != len(other) else None


def _difference(one: list[Saved], other: list[Saved]) -> dict[str, Any]:
    """What the first run saved and the other did not, and the line."""
    index = _differ(one, other) or 0
    left, right = (saved[index] if index < len(saved) else None for saved in (one, other))
    where = left or right
    return {
        "saved": left.shape if left else "nothing",
        "again": right.shape if right else "nothing",
        "place": places.at(where.file, where.line, where.function) if where and where.file else None,
    }


def _counted(hidden: torch.Tensor, changed: int) -> dict[str, int]:
    return {"tokens": hidden.shape[:-1].numel(), "trials": TRIALS, "changed": changed}
