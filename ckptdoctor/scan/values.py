"""What an interpreter knows of values, and how it follows control flow."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from ckptdoctor.scan.module import Module, parameters
from ckptdoctor.scan.stand_ins import UNKNOWN, Layer, Unknown


class Seen(NamedTuple):
    """A read of what the callable is made of."""

    module: Module
    node: ast.AST
    error: str
    """The error that it raises with this callable; empty where it raises none."""
    found: bool
    """Whether it led to the layer."""
    sure: bool
    """Whether it is reached whatever the unknown conditions say."""
    caught: bool
    """Whether the error is caught."""


@dataclass(frozen=True)
class Reference:
    """Something that is imported or defined elsewhere.

    Attributes:
        dotted: Its dotted name.
    """

    dotted: str


@dataclass(frozen=True)
class Closure:
    """A function of the code that is read.

    Attributes:
        module: Where it stands.
        node: Its definition.
    """

    module: Module
    node: ast.AST


class Raised(Exception):  # noqa: N818 - what the code that is read raises
    """An attribute error in the code that is read."""


class Returned(Exception):  # noqa: N818 - no error
    """The function returns."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value


class Left(Exception):  # noqa: N818 - no error
    """The function raises an error of its own."""


class Broke(Exception):  # noqa: N818 - no error
    """The loop is left, or begins anew."""


FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef)


def merge(names: dict[str, Any], *ways: dict[str, Any]) -> None:
    """Keep in ``names`` what is known whichever of one or two ways was taken."""
    first, last = ways[0], ways[-1]
    for name in first.keys() | last.keys():
        names[name] = first[name] if name in first and name in last and first[name] is last[name] else UNKNOWN


def bind(target: ast.expr, value: Any, names: dict[str, Any]) -> None:
    """Assign a value to a target; its parts, where the target is a tuple."""
    if isinstance(target, ast.Name):
        names[target.id] = value
    elif isinstance(target, (ast.Tuple, ast.List)):
        values = value if isinstance(value, tuple) and len(value) == len(target.elts) else [UNKNOWN] * len(target.elts)
        for one, part in zip(target.elts, values, strict=True):
            bind(one, part, names)


def arguments_of(
    function: ast.AST, arguments: Sequence[Any], keywords: dict[str | None, Any], skip: int
) -> dict[str, Any]:
    """The parameters of a function by what a call gives it, those that it does not know as unknown."""
    if not isinstance(function, (*FUNCTIONS, ast.Lambda)):
        return {}
    given = dict(zip(parameters(function)[skip:], arguments, strict=False))
    given.update({name: value for name, value in keywords.items() if name})
    if function.args.vararg and len(arguments) > len(parameters(function)) - skip:
        given[function.args.vararg.arg] = tuple(arguments[len(parameters(function)) - skip :])
    every = [*parameters(function), *(one.arg for one in function.args.kwonlyargs)]
    return {**dict.fromkeys(every, UNKNOWN), **given}


def is_layer(value: Any) -> bool:
    """Whether a value is the layer, or a tuple that has it."""
    return isinstance(value, Layer) or (isinstance(value, tuple) and any(isinstance(one, Layer) for one in value))


def truth(value: Any) -> bool | None:
    """Whether a value counts as true; ``None`` where that is not known."""
    if is_vague(value):
        return None
    return True if isinstance(value, Layer) else bool(value)


def is_vague(value: Any) -> bool:
    """Whether nothing can be computed with a value."""
    return isinstance(value, (Unknown, Reference)) or (isinstance(value, tuple) and any(map(is_vague, value)))


def catches_attribute_errors(handler: ast.ExceptHandler) -> bool:
    """Whether a handler catches an attribute error."""
    if handler.type is None:
        return True
    named = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(ast.unparse(one) in ("AttributeError", "Exception", "BaseException") for one in named)


def shown(error: AttributeError) -> str:
    """An attribute error's message, with the class that a reader knows."""
    return str(error).replace(f"'{Layer.__name__}'", "'Module'")
