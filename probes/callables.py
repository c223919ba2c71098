"""What a callable is made of."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator
from types import BuiltinMethodType, FunctionType, MethodType
from typing import Any

import torch

from . import places

DEPTH = 8
"""Nesting that is followed; deeper than any seen, and a guard against a callable that holds itself."""


def describe(function: Any, depth: int = DEPTH) -> dict[str, Any]:
    """What a callable is made of, outermost first; see ``CallableInfo`` on the doctor's side for the fields."""
    inner = _inner(function)
    described: dict[str, Any] = {
        "kind": _kind(function),
        "text": render(function),
        "type": type_name(function),
        "keywords": sorted({*getattr(function, "keywords", {})} if isinstance(function, functools.partial) else set()),
        "defined": defined(function),
    }
    if inner is not None and depth:
        described["inner"] = describe(inner, depth - 1)
        described["keywords"] = sorted({*described["keywords"], *described["inner"].get("keywords", [])})
    return described


def render(function: Any, depth: int = DEPTH) -> str:
    """One line, as one would write it: ``functools.partial(Glm4DecoderLayer.__call__, attention_mask=...)``."""
    if depth == 0:
        return "..."
    if isinstance(function, functools.partial):
        parts = [render(function.func, depth - 1)]
        parts += [_short(argument) for argument in function.args]
        parts += [f"{name}=..." for name in sorted(function.keywords)]
        return f"{type_name(function)}({', '.join(parts)})"
    if isinstance(function, MethodType):
        return f"{type(function.__self__).__name__}.{_method_name(function)}"
    if isinstance(function, torch.nn.Module):
        return f"{type(function).__name__} (the module itself)"
    if isinstance(function, (FunctionType, BuiltinMethodType)):
        return str(getattr(function, "__qualname__", repr(function)))
    return f"{type_name(function)} object"


def parts(function: Any) -> Iterator[tuple[str, Any]]:
    """Every object in a callable that a checkpoint function may read, with the way to it."""
    yield from _parts("callable", function, DEPTH)


def type_name(value: Any) -> str:
    """Qualified name of a value's type; built-in types without their module."""
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def defined(function: Any) -> dict[str, Any] | None:
    """Where the code of a function, or of a method's function, stands; nothing for a partial."""
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    return places.of_code(code) if code is not None else None


def _kind(function: Any) -> str:
    if isinstance(function, functools.partial):
        return "functools.partial"
    if isinstance(function, MethodType):
        return "bound method"
    if isinstance(function, torch.nn.Module):
        return "module"
    if hasattr(function, "__wrapped__"):
        return "wrapped function"
    return "function" if isinstance(function, (FunctionType, BuiltinMethodType)) else "object"


def _inner(function: Any) -> Any:
    if isinstance(function, functools.partial):
        return function.func
    if isinstance(function, FunctionType):
        return getattr(function, "__wrapped__", None)
    return None


def _parts(path: str, value: Any, depth: int) -> Iterator[tuple[str, Any]]:
    yield path, value
    if depth == 0:
        return
    if isinstance(value, functools.partial):
        yield from _parts(f"{path}.func", value.func, depth - 1)
        for index, argument in enumerate(value.args):
            if callable(argument):
                yield from _parts(f"{path}.args[{index}]", argument, 0)
    elif isinstance(value, MethodType):
        # An attribute that a method lacks is looked up on its function, and missed there.
        yield f"{path}.__func__", value.__func__
        yield f"{path}.__self__", value.__self__
    elif isinstance(value, FunctionType):
        if hasattr(value, "__wrapped__"):
            yield from _parts(f"{path}.__wrapped__", value.__wrapped__, depth - 1)
        for name, cell in inspect.getclosurevars(value).nonlocals.items():
            if callable(cell):
                yield f"{path}.<{name}>", cell


def _method_name(method: MethodType) -> str:
    """``__call__`` for the method that calling the object runs, whatever name torch gave its function."""
    call = getattr(type(method.__self__), "__call__", None)  # noqa: B004 - the function is wanted, not whether it exists
    if call is method.__func__ or method.__func__ is torch.nn.Module.__call__:
        return "__call__"
    return str(method.__func__.__name__)


def _short(argument: Any) -> str:
    if isinstance(argument, torch.nn.Module):
        return type(argument).__name__
    return render(argument, 2) if callable(argument) else type_name(argument)
