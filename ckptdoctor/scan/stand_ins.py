"""Callables made as a release of transformers makes them, for reading what a checkpoint function finds in one."""

from __future__ import annotations

import functools
from typing import Any, Final

REACHING: Final = frozenset(
    {
        "__self__",
        "func",
        "args",
        "keywords",
        "__func__",
        "__wrapped__",
        "__closure__",
        "__code__",
        "__name__",
        "__qualname__",
    }
)
"""Attributes that tell what a callable is made of."""


class Unknown:
    """A value of which nothing is known."""

    def __repr__(self) -> str:
        return "unknown"


UNKNOWN: Final = Unknown()


class Layer:
    """Stands for a layer of a model."""

    def forward(self, *inputs: Any, **keywords: Any) -> Unknown:
        """As a layer's."""
        return UNKNOWN

    def __call__(self, *inputs: Any, **keywords: Any) -> Unknown:
        """As a layer's."""
        return UNKNOWN


def made_by(convention: str) -> Any:
    """A callable as a calling convention of transformers passes it; ``UNKNOWN`` for any other convention."""
    layer = Layer()
    made = {
        "bound-method": layer.__call__,
        "partial-bound": functools.partial(layer.__call__, attention_mask=None),
        "partial-function": functools.partial(Layer.forward, layer, attention_mask=None),
    }
    return made.get(convention, UNKNOWN)


def is_callable_made_of_layer(value: Any) -> bool:
    """Whether a value is such a callable, or what it is made of, and not the layer itself."""
    return callable(value) and not isinstance(value, (Unknown, Layer, type))


def attribute(value: Any, name: str) -> Any:
    """An attribute of a value, ``UNKNOWN`` where that depends on a real layer.

    Raises:
        AttributeError: The value has none, whatever the layer is.
    """
    if is_callable_made_of_layer(value) and name in REACHING:
        return getattr(value, name)
    return UNKNOWN
