"""Functions of Python itself by which code tells callables apart."""

from __future__ import annotations

import ast
import functools
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ckptdoctor.scan.module import Module
from ckptdoctor.scan.stand_ins import REACHING, UNKNOWN, Layer, Unknown, is_callable_made_of_layer
from ckptdoctor.scan.values import Closure, Reference, is_layer, is_vague

if TYPE_CHECKING:
    from ckptdoctor.scan.expressions import Expressions

Answer = Callable[["Expressions", Module, ast.Call, "dict[str, Any]"], Any]


def _isinstance(run: Expressions, module: Module, node: ast.Call, names: dict[str, Any]) -> Any:
    if len(node.args) != 2:
        return UNKNOWN
    value, kind = (run.value(module, one, names) for one in node.args)
    kinds = kind if isinstance(kind, tuple) else (kind,)
    if isinstance(value, Unknown):
        return UNKNOWN
    answers = [_is_of(value, one) for one in kinds]
    return True if True in answers else UNKNOWN if None in answers else False


def _is_of(value: Any, kind: Any) -> bool | None:
    dotted = kind.dotted if isinstance(kind, Reference) else ""
    if dotted == "functools.partial":
        return isinstance(value, functools.partial)
    if dotted in ("types.MethodType", "types.FunctionType"):
        return isinstance(value, types.MethodType if dotted.endswith("MethodType") else types.FunctionType)
    if isinstance(value, Layer):
        return True if dotted.endswith((".Module", ".GradientCheckpointingLayer")) else None
    return False if dotted.endswith((".Module", ".GradientCheckpointingLayer")) else None


def _hasattr(run: Expressions, module: Module, node: ast.Call, names: dict[str, Any]) -> Any:
    value, name = (
        (run.value(module, one, names) for one in node.args[:2]) if len(node.args) == 2 else (UNKNOWN, UNKNOWN)
    )
    if not is_callable_made_of_layer(value) or name not in REACHING:
        return UNKNOWN
    return hasattr(value, name)


def _getattr(run: Expressions, module: Module, node: ast.Call, names: dict[str, Any]) -> Any:
    if len(node.args) < 2:
        return UNKNOWN
    value, name = (run.value(module, one, names) for one in node.args[:2])
    if len(node.args) == 2 or not is_callable_made_of_layer(value) or name not in REACHING:
        return run.attribute_of(module, node, value, name) if isinstance(name, str) else UNKNOWN
    found = getattr(value, name) if hasattr(value, name) else run.value(module, node.args[2], names)
    run.note(module, node, "", found=is_layer(found))
    return found


def _told_by(test: Callable[[Any], bool]) -> Answer:
    def answer(run: Expressions, module: Module, node: ast.Call, names: dict[str, Any]) -> Any:
        value = run.value(module, node.args[0], names) if node.args else UNKNOWN
        return UNKNOWN if is_vague(value) or isinstance(value, Closure) else test(value)

    return answer


KNOWN_CALLS: Final[dict[str, Answer]] = {
    "builtins.isinstance": _isinstance,
    "builtins.hasattr": _hasattr,
    "builtins.getattr": _getattr,
    "builtins.callable": _told_by(callable),
    "inspect.ismethod": _told_by(lambda value: isinstance(value, types.MethodType)),
    "inspect.isfunction": _told_by(lambda value: isinstance(value, types.FunctionType)),
}
