"""Each run of a layer, in the forward pass and in backward, seen through hooks on the layer and on what is in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Callable

import torch

from .. import memory, watch
from . import samples
from .samples import Shape

MOST_INSIDE = 400
"""Modules inside a layer whose inputs' shapes are kept."""


@dataclass
class Entry:
    """What one module in a layer was called with."""

    module: str
    shapes: tuple[Shape, ...]
    random: tuple[Any, ...] = ()
    """The random states then, of a direct child of the layer."""
    sample: torch.Tensor | None = None
    """Some numbers of its first input, of a direct child of the layer."""


@dataclass
class Run:
    """One run of a layer."""

    layer: str
    is_again: bool
    """It ran in backward."""
    has_graph: bool
    """Gradients were on."""
    keywords: frozenset[str] | None = None
    """Keyword arguments that the layer got and that are not ``None``; nothing where it was not called as a module."""
    arithmetic: str = ""
    entries: list[Entry] = field(default_factory=list)
    random_after: tuple[Any, ...] = ()
    """The random states when it was over; empty where it did not come to its end, or was not called as a module."""
    held: int | None = None
    """Bytes in use when it began."""
    output_bytes: int = 0
    """Of its first input, which has the size of its output."""
    is_recorded: bool = False
    """A mode saw every operation, so that no number was copied."""


class Layers:
    """Watches layers. Each new run is told to ``began``, after its first module was called."""

    def __init__(
        self, layers: dict[str, torch.nn.Module], began: Callable[[Run], None], failed: Callable[[Exception], None]
    ) -> None:
        """Put hooks into layers; ``failed`` is told of an error of ours in one of them."""
        self.runs: list[Run] = []
        self.measures = True
        """Whether bytes in use are read at the beginning of each run."""
        self.reached: set[str] = set()
        """Layers that backward goes through: they have something to train, or what comes in does."""
        self.trained: set[str] = set()
        self._began = began
        self._failed = failed
        self._current: dict[str, Run] = {}
        self._given: dict[str, frozenset[str]] = {}
        self._devices: set[int] = set()
        self.handles: list[Any] = []
        for name, layer in layers.items():
            self._hook(name, layer)

    def _hook(self, name: str, layer: torch.nn.Module) -> None:
        if any(parameter.requires_grad for parameter in layer.parameters()):
            self.trained.add(name)
        self._devices |= {one.device.index or 0 for one in layer.parameters() if one.device.type == "cuda"}
        called, ended = self._safe(self._called, name), self._safe(self._ended, name)
        self.handles.append(layer.register_forward_pre_hook(called, with_kwargs=True))
        self.handles.append(layer.register_forward_hook(ended))
        children = dict(layer.named_children())
        for child, module in children.items() or [("", layer)]:
            seen = self._safe(self._entered, name, child)
            self.handles.append(module.register_forward_pre_hook(seen, with_kwargs=True))
        for inner, module in list(layer.named_modules())[1:MOST_INSIDE]:
            if inner not in children:
                seen_inside = self._safe(self._entered_inside, name, inner)
                self.handles.append(module.register_forward_pre_hook(seen_inside, with_kwargs=True))

    def _safe(self, method: Callable[..., None], *names: str) -> Callable[..., None]:
        """A hook whose own error goes to ``failed``, and never to the job."""

        def hook(*args: Any) -> None:
            try:
                method(*names, *args)
            except Exception as error:
                self._failed(error)

        return hook

    def _called(self, layer: str, module: torch.nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        if not samples.is_out_of_reach():
            self._given[layer] = frozenset(key for key, value in kwargs.items() if value is not None)

    def _ended(self, layer: str, module: torch.nn.Module, args: Any, output: Any) -> None:
        run = self._current.pop(layer, None)
        if run is not None and not samples.is_out_of_reach():
            run.random_after = samples.random_state(self._devices)

    def _entered(self, layer: str, child: str, module: torch.nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        if samples.is_out_of_reach():
            return
        tensors = samples.tensors_in(args, kwargs)
        run = self._current.get(layer)
        if run is None or self._begins(layer, child, run):
            run = self._begin(layer, args, kwargs, tensors)
        recorded = samples.is_recorded()
        run.is_recorded |= recorded
        sample = None if recorded else next((samples.take(one) for one in tensors if one.is_floating_point()), None)
        random = samples.random_state(self._devices)
        run.entries.append(Entry(child, tuple(map(samples.shape, tensors)), random, sample))
        if len(run.entries) == 1:
            self._began(run)

    def _entered_inside(
        self, layer: str, inner: str, module: torch.nn.Module, args: Any, kwargs: dict[str, Any]
    ) -> None:
        run = self._current.get(layer)
        if run is not None and not samples.is_out_of_reach():
            run.entries.append(Entry(inner, tuple(map(samples.shape, samples.tensors_in(args, kwargs)))))

    def _begins(self, layer: str, child: str, run: Run) -> bool:
        """Whether a call of a child is the beginning of another run of its layer; the last one may have stopped early."""
        if layer in self._given or run.is_again != samples.is_backward():
            return True
        return run.keywords is None and child == run.entries[0].module

    def _begin(self, layer: str, args: Any, kwargs: dict[str, Any], tensors: list[Any]) -> Run:
        if layer in self.trained or any(one.requires_grad for one in tensors):
            self.reached.add(layer)
        run = Run(
            layer,
            samples.is_backward(),
            torch.is_grad_enabled(),
            self._given.pop(layer, None),
            watch.arithmetic(args, kwargs),
            held=memory.in_use() if self.measures else None,
            output_bytes=tensors[0].numel() * tensors[0].element_size() if tensors else 0,
        )
        self._current[layer] = run
        self.runs.append(run)
        return run

    def take(self) -> list[Run]:
        """The runs so far, in their order; counting starts anew."""
        taken, self.runs = self.runs, []
        self._current.clear()
        return taken

    def close(self) -> None:
        """Take all hooks out."""
        for handle in self.handles:
            handle.remove()
        self.handles.clear()
        self.runs.clear()
        self._current.clear()
