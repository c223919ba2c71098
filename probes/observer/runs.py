"""Each run of a layer, in the forward pass and in backward, seen through hooks on the layer and on what is in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Callable

import torch

from .. import watch
from . import kept, samples
from .passes import Passes
from .samples import Shape

MOST_INSIDE = 400
"""Modules inside a layer whose inputs' shapes are kept."""

MOST_WAITING = 64
"""Runs of one layer in the forward pass that are kept to be compared, where they are not run again."""


@dataclass
class Entry:
    """What one module in a layer was called with."""

    module: str
    shapes: tuple[Shape, ...]
    samples: tuple[torch.Tensor, ...] = ()


@dataclass(eq=False)
class Run:
    """One run of a layer."""

    layer: str
    is_again: bool
    """It ran in backward."""
    has_graph: bool
    """Gradients were on."""
    keywords: frozenset[str] | None
    """Keyword arguments that the layer got and that are not ``None``; nothing where it was not called as a module."""
    arithmetic: str
    random: tuple[int, ...]
    """The random states when it began."""
    draws: bool = False
    """Random states changed while it ran."""
    entries: list[Entry] = field(default_factory=list)
    output: torch.Tensor | None = None
    """A sample of its output, where it came to its end and was called as a module."""
    held: int | None = None
    """Bytes in use when it began."""
    most_held: int | None = None
    """Bytes in use when the last module in it was called."""
    output_bytes: int = 0
    """Of its first input, which has the size of its output."""
    is_under: bool = False
    """It began under a checkpoint function, in the forward pass."""
    forward_pass: int = 0
    """The number of the forward pass in which it ran."""
    is_recorded: bool = False
    """A mode saw every operation, so that no number was copied."""

    def forget(self) -> None:
        """Let go of what it was compared by."""
        self.entries, self.output = [], None


class Layers:
    """Watches layers. Each new run is told to ``began``, after its first module was called."""

    def __init__(
        self,
        layers: dict[str, torch.nn.Module],
        passes: Passes,
        began: Callable[[Run], None],
        failed: Callable[[Exception], None],
    ) -> None:
        """Put hooks into layers.

        Args:
            layers: The layers by name.
            passes: The job's forward passes.
            began: Told of each run.
            failed: Told of an error of ours in a hook.
        """
        self.runs: list[Run] = []
        self.measures = True
        """Whether bytes in use are read."""
        self.reached: set[str] = set()
        """Layers that backward goes through: they have something to train, or what comes in does."""
        self.trained: set[str] = set()
        self.repeated: list[tuple[Run, list[Run]]] = []
        """Runs in backward, each with those of the forward pass that it may repeat, the likeliest first."""
        self._passes, self._began, self._failed = passes, began, failed
        self._current: dict[str, Run] = {}
        self._given: dict[str, frozenset[str]] = {}
        self._waiting: dict[str, list[Run]] = {}
        self._again: dict[str, int] = {}
        self._firsts: dict[str, int] = {}
        """How often a layer calls its first child."""
        self.handles: list[Any] = []
        devices = {one.device for layer in layers.values() for one in layer.parameters()}
        self.devices = sorted({device.index or 0 for device in devices if device.type == "cuda"})
        self._measure = kept.measure(self.devices)
        # A module that stands in several layers does not tell whose run it is.
        places = Counter(id(module) for layer in layers.values() for module in layer.modules())
        for name, layer in layers.items():
            self._hook(name, layer, {key for key, count in places.items() if count > 1})

    def _hook(self, name: str, layer: torch.nn.Module, shared: set[int]) -> None:
        if any(parameter.requires_grad for parameter in layer.parameters()):
            self.trained.add(name)
        called, ended = self._safe(self._called, name), self._safe(self._ended, name)
        self.handles.append(layer.register_forward_pre_hook(called, with_kwargs=True))
        self.handles.append(layer.register_forward_hook(ended))
        children = {key: one for key, one in _called_in(layer) if id(one) not in shared}
        for child, module in children.items() or [("", layer)]:
            seen = self._safe(self._entered, name, child)
            self.handles.append(module.register_forward_pre_hook(seen, with_kwargs=True))
        for inner, module in list(layer.named_modules())[1:MOST_INSIDE]:
            if inner not in children and id(module) not in shared:
                seen_inside = self._safe(self._entered_inside, name, inner)
                self.handles.append(module.register_forward_pre_hook(seen_inside, with_kwargs=True))

    def _safe(self, method: Callable[..., None], *names: str) -> Callable[..., None]:
        """A hook whose own error goes to ``failed``, and never to the job."""

        def hook(*args: Any) -> None:
            if samples.is_out_of_reach():
                return
            try:
                method(*names, *args)
            except Exception as error:
                self._failed(error)

        return hook

    def _called(self, layer: str, module: torch.nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        self._current.pop(layer, None)
        if samples.is_backward() or self._passes.count():
            self._given[layer] = frozenset(key for key, value in kwargs.items() if value is not None)

    def _ended(self, layer: str, module: torch.nn.Module, args: Any, output: Any) -> None:
        run = self._current.pop(layer, None)
        if run is None or run.is_again != samples.is_backward():
            return
        if not run.is_again:
            run.draws = samples.random_state(self.devices) != run.random
            self._firsts[layer] = sum(entry.module == run.entries[0].module for entry in run.entries)
        found = samples.tensors_in((output,), {})
        if found and not samples.is_recorded():
            run.output = samples.take(found[0])

    def _entered(self, layer: str, child: str, module: torch.nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        tensors = samples.tensors_in(args, kwargs)
        run = self._current.get(layer)
        if run is None or self._begins(layer, child, run):
            if not samples.is_backward() and layer not in self._given and not self._passes.count():
                self._current.pop(layer, None)
                return
            run = self._begin(layer, args, kwargs, tensors)
        elif run.keywords is None and not run.is_again and not run.draws:
            # Such a run does not tell when it ends.
            run.draws = samples.random_state(self.devices) != run.random
        if self.measures:
            run.most_held = self._measure()
        run.is_recorded = run.is_recorded or samples.is_recorded()
        floats = () if run.is_recorded else [one for one in tensors if one.is_floating_point()][:1]
        taken = tuple(one for one in map(samples.take, floats) if one is not None)
        run.entries.append(Entry(child, tuple((one.dtype, one.shape) for one in tensors), taken))
        if len(run.entries) == 1:
            self._began(run)

    def _entered_inside(
        self, layer: str, inner: str, module: torch.nn.Module, args: Any, kwargs: dict[str, Any]
    ) -> None:
        run = self._current.get(layer)
        if run is None:
            return
        tensors, indexes = samples.tensors_in(args, kwargs), samples.indexes(args)
        taken = map(samples.take, () if run.is_recorded else indexes[:2])
        shapes = tuple((one.dtype, one.shape) for one in tensors)
        run.entries.append(Entry(inner, shapes, tuple(one for one in taken if one is not None)))

    def _begins(self, layer: str, child: str, run: Run) -> bool:
        """Whether a call of a child is the beginning of another run of its layer; the last one may have stopped early."""
        if layer in self._given or run.is_again != samples.is_backward():
            return True
        if run.keywords is not None or child != run.entries[0].module:
            return False
        return sum(entry.module == child for entry in run.entries) >= self._firsts.get(layer, 1)

    def _begin(self, layer: str, args: Any, kwargs: dict[str, Any], tensors: list[torch.Tensor]) -> Run:
        if layer in self.trained or any(one.requires_grad for one in tensors):
            self.reached.add(layer)
        run = Run(
            layer,
            samples.is_backward(),
            torch.is_grad_enabled(),
            self._given.pop(layer, None),
            watch.arithmetic(args, kwargs),
            samples.random_state(self.devices),
            forward_pass=self._passes.number,
            held=self._measure() if self.measures else None,
            output_bytes=tensors[0].numel() * tensors[0].element_size() if tensors else 0,
        )
        self._current[layer] = run
        self.runs.append(run)
        self._match(run)
        return run

    def _match(self, run: Run) -> None:
        """Note which runs of the forward pass a run in backward may repeat: passes are repeated from the last to the first."""
        waiting, again = self._waiting.setdefault(run.layer, []), self._again.get(run.layer, 0)
        if run.is_again:
            likeliest = waiting[-1 - again % len(waiting)] if waiting else None
            others = [*([likeliest] if likeliest else []), *waiting[-3:], *waiting[:3]]
            self.repeated.append((run, list(dict.fromkeys(others))))
            self._again[run.layer] = again + 1
            return
        if again >= len(waiting):
            for one in () if self.repeated else waiting:
                one.forget()
            waiting.clear()
            self._again[run.layer] = 0
        waiting.append(run)
        if len(waiting) > MOST_WAITING:
            waiting.pop(0).forget()

    def drop(self, passes: set[int]) -> None:
        """Forget forward passes that backward does not come to."""
        self.runs = [run for run in self.runs if run.is_again or run.forward_pass not in passes]
        for layer, waiting in self._waiting.items():
            self._waiting[layer] = [run for run in waiting if run.forward_pass not in passes]

    def take(self) -> list[Run]:
        """The runs so far, in their order; counting starts anew."""
        taken, self.runs, self.repeated = self.runs, [], []
        self._current.clear()
        self._waiting.clear()
        self._again.clear()
        return taken

    def close(self) -> None:
        """Take all hooks out."""
        for handle in self.handles:
            handle.remove()
        self.handles.clear()
        self.take()


def _called_in(module: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Module]]:
    """The children that a module calls: for a list, which is never called itself, those in it, as T5 has."""
    for name, child in module.named_children():
        if isinstance(child, (torch.nn.ModuleList, torch.nn.ModuleDict)):
            yield from ((f"{name}.{inner}", one) for inner, one in _called_in(child))
        else:
            yield name, child
