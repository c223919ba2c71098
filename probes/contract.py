"""What trainers rely on in a model beside the callable: its layers' ``forward`` and hooks, and how it is switched on.

Observed after the step itself, in two steps of its own, so that nothing that is measured changes.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterable, Iterator
from typing import Any, Callable

import torch

from . import callables, places, switching_on

SHOWN_BY = "torch:non-reentrant"
"""The function with which it is observed: what models pass is the same with each."""

Take = Callable[[Callable[[], None]], None]
"""Takes a step, and calls what it is given once the forward pass is over."""


def of(model: torch.nn.Module, layers: dict[str, torch.nn.Module], take: Take) -> dict[str, Any]:
    """The contract of a model; see ``Contract`` on the doctor's side for the fields.

    Hooks stay on the layers: nothing may be taken from the model afterwards.

    Args:
        model: A model of transformers, with checkpointing switched on.
        layers: Its layers by name.
        take: Takes a checkpointed step.
    """
    kinds: dict[type, torch.nn.Module] = {}
    for layer in layers.values():
        kinds.setdefault(type(layer), layer)
    seen = [_Seen(layer) for layer in kinds.values()]
    told: dict[str, Any] = {"switches": _switches(model), "layers": [one.described() for one in seen]}
    told["trainers_call"] = switching_on.trainers_arguments(model, {"use_reentrant": False})
    try:
        _step(seen, take)
        for one, layer in zip(seen, told["layers"]):
            layer.update(returns=one.returns, hooks_again=one.hooks_again, recomputed=one.recomputed)
        with _replaced_forwards(kinds):
            _step(seen, take)
        for one, layer in zip(seen, told["layers"]):
            layer["recomputed_if_replaced"] = one.recomputed
    finally:
        for one in seen:
            one.close()
    return told


def _step(seen: list[_Seen], take: Take) -> None:
    def forward_is_over() -> None:
        for one in seen:
            one.forward_is_over()

    for one in seen:
        one.begin()
    take(forward_is_over)


@contextlib.contextmanager
def _replaced_forwards(kinds: Iterable[type]) -> Iterator[None]:
    """Plain functions in the place of the classes' ``forward``, as of trainers that patch a family; other probes may follow."""
    before = {kind: vars(kind).get("forward") for kind in kinds}
    try:
        for kind in before:
            _replace_forward(kind)
        yield
    finally:
        for kind, forward in before.items():
            if forward is None:
                del kind.forward  # type: ignore[attr-defined]
            else:
                kind.forward = forward  # type: ignore[attr-defined]


def _replace_forward(kind: type) -> None:
    own = inspect.unwrap(kind.forward)  # type: ignore[attr-defined]

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        return own(self, *args, **kwargs)

    kind.forward = forward  # type: ignore[attr-defined]


def _switches(model: torch.nn.Module) -> list[str]:
    """The methods that switch checkpointing on, with the names of their parameters."""
    names = (*switching_on.METHODS, switching_on.SETTER)
    found = {name: getattr(type(model), name, None) for name in names}
    return [f"{name}({', '.join(_parameters(method))})" for name, method in found.items() if method is not None]


def _parameters(method: Any) -> list[str]:
    marks: dict[Any, str] = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    return [f"{marks.get(one.kind, '')}{one.name}" for one in inspect.signature(method).parameters.values()][1:]


class _Seen:
    """What hooks on a layer and its children tell of a step."""

    def __init__(self, layer: torch.nn.Module) -> None:
        self._layer = layer
        self._own = self._inner = 0
        self._before = (0, 0)
        self.returns = ""
        self._hooks = [
            layer.register_forward_pre_hook(self._count_own),
            layer.register_forward_hook(self._note_output),
            *(child.register_forward_pre_hook(self._count_inner) for child in layer.children()),
        ]

    def described(self) -> dict[str, Any]:
        """The class of the layer, and where the code stands that runs as its ``forward``."""
        forward = vars(self._layer).get("forward", type(self._layer).forward)
        return {"type": type(self._layer).__name__, "forward": callables.defined(forward) or _nowhere(forward)}

    def begin(self) -> None:
        """Another step begins."""
        self._own = self._inner = 0

    def forward_is_over(self) -> None:
        """What is called from now on is called in backward."""
        self._before = self._own, self._inner

    def close(self) -> None:
        """Stop looking."""
        for hook in self._hooks:
            hook.remove()

    @property
    def hooks_again(self) -> bool:
        """Whether the layer's own hooks were run in recomputation."""
        return self._own > self._before[0]

    @property
    def recomputed(self) -> bool:
        """Whether the layer's children were called in backward."""
        return self._inner > self._before[1]

    def _count_own(self, *_: Any) -> None:
        self._own += 1

    def _count_inner(self, *_: Any) -> None:
        self._inner += 1

    def _note_output(self, module: torch.nn.Module, args: Any, output: Any) -> None:
        self.returns = self.returns or _type(output)


def _type(value: Any) -> str:
    """``torch.Tensor``, ``tuple[torch.Tensor, NoneType]``."""
    if isinstance(value, torch.Tensor):
        return "torch.Tensor"
    if type(value) in (tuple, list):
        return f"{type(value).__name__}[{', '.join(map(_type, value))}]"
    return callables.type_name(value)


def _nowhere(forward: Any) -> dict[str, Any]:
    return places.at("", 0, callables.render(forward))
