"""Forwards, methods and functions that are not those of the model's own files, and the lines that put them there."""

from __future__ import annotations

import ast
import functools
import os
import sys
from collections.abc import Iterator
from types import CodeType, MethodType, ModuleType
from typing import Any

from .. import places
from ..replacements import SWITCHES
from .jobs_model import JobsModel

MOST = 40
"""Replacements that are told."""

_HOOKED = "_old_forward"
"""accelerate's hooks keep a module's own forward under this name, and run it."""


def find(model: JobsModel) -> list[dict[str, Any]]:
    """What was replaced of layers, of the model's switches, and of torch's and transformers' checkpointing, as evidence."""
    found: dict[str, dict[str, Any]] = {}
    for what, new in (*_of_layers(model), *_of_model(model.inner), *_shared(model)):
        code = _code(new)
        if what not in found and len(found) < MOST:
            found[what] = {
                "what": what,
                "by": _assigned_at(code, what.rpartition(".")[2]) if code is not None else None,
                "with_": places.of_code(code) if code is not None else None,
            }
    return list(found.values())


def _of_layers(model: JobsModel) -> Iterator[tuple[str, Any]]:
    for name, layer in model.layers.items():
        held = vars(layer).get("forward")
        if held is not None and not hasattr(layer, _HOOKED) and not _is_own(held, layer):
            yield f"{name}.forward", held
    for kind in {type(layer) for layer in model.layers.values()}:
        for owner in _own_classes(kind):
            for method in ("forward", "__call__"):
                defined = vars(owner).get(method)
                if defined is not None and _is_foreign(defined, owner):
                    yield f"{kind.__name__}.{method}", defined
            if owner.__name__ == "GradientCheckpointingLayer" and owner.__module__ != "transformers.modeling_layers":
                yield "transformers.modeling_layers.GradientCheckpointingLayer", owner


def _is_own(held: Any, layer: Any) -> bool:
    """Whether a forward that an object holds is its class's, bound anew."""
    return getattr(held, "__func__", None) is type(layer).forward


def _of_model(inner: Any) -> Iterator[tuple[str, Any]]:
    for name in SWITCHES:
        held = vars(inner).get(name)
        if held is not None:
            yield name, held
        for owner in _own_classes(type(inner)):
            defined = vars(owner).get(name)
            if defined is not None and _is_foreign(defined, owner):
                yield f"{owner.__name__}.{name}", defined


def _shared(model: JobsModel) -> Iterator[tuple[str, Any]]:
    home = sys.modules.get("torch.utils.checkpoint")
    real = getattr(home, "checkpoint", None)
    if real is not None and getattr(real, "__module__", "") != "torch.utils.checkpoint":
        yield "torch.utils.checkpoint.checkpoint", real
    for name in {type(layer).__module__ for layer in model.layers.values()}:
        held = vars(sys.modules[name]).get("checkpoint") if name in sys.modules else None
        if callable(held) and getattr(held, "__module__", "") not in ("torch.utils.checkpoint", name):
            yield f"{name}.checkpoint", held


def _own_classes(kind: type) -> Iterator[type]:
    for owner in kind.__mro__:
        if owner is not object and not owner.__module__.startswith("torch."):
            yield owner


def _is_foreign(function: Any, owner: type) -> bool:
    """Whether the code of a method stands in another file than its class."""
    code, home = _code(function), sys.modules.get(owner.__module__)
    file = getattr(home, "__file__", None)
    return code is not None and file is not None and not _is_same(code.co_filename, file)


def _is_same(one: str, other: str) -> bool:
    return one == other or os.path.realpath(one) == os.path.realpath(other)


def _code(function: Any) -> CodeType | None:
    """The code behind a function; decorators that keep what they wrap are looked through."""
    for _ in range(8):
        if isinstance(function, (functools.partial, MethodType)):
            function = function.func if isinstance(function, functools.partial) else function.__func__
        elif hasattr(function, "__wrapped__"):
            function = function.__wrapped__
    if isinstance(function, type):
        function = vars(function).get("forward", vars(function).get("__call__"))
    code = getattr(function, "__code__", None)
    return code if isinstance(code, CodeType) else None


def _assigned_at(code: CodeType, name: str) -> dict[str, Any] | None:
    """The line of the same package that assigns a function to an attribute of that name; nothing unless it is just one."""
    found = [(file, line) for file in _files_near(code.co_filename) for line in _assignments(file, name, code.co_name)]
    return places.at(*found[0]) if len(found) == 1 else None


def _files_near(file: str) -> list[str]:
    """The files of imported modules in the same folder as a file, and of ``__main__``."""
    folders = {os.path.dirname(one) + os.sep for one in (file, os.path.realpath(file))}
    near = {file}
    for module in list(sys.modules.values()):
        one = vars(module).get("__file__") if isinstance(module, ModuleType) else None
        if isinstance(one, str) and one.endswith(".py") and one[: one.rfind(os.sep) + 1] in folders:
            near.add(one)
    main = getattr(sys.modules.get("__main__"), "__file__", None)
    return sorted({os.path.abspath(one) for one in (*near, *([main] if main else []))})[:200]


def _assignments(file: str, attribute: str, function: str) -> Iterator[int]:
    """Lines that assign something in which a function is named to an attribute: ``Layer.forward = patched``."""
    try:
        with open(file, encoding="utf-8") as handle:
            text = handle.read()
        if attribute not in text or function not in text:
            return
        tree = ast.parse(text)
    except (OSError, SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and _names(node.value, function):
            if any(isinstance(target, ast.Attribute) and target.attr == attribute for target in node.targets):
                yield node.lineno
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "setattr" and len(node.args) == 3:
            key = node.args[1]
            if isinstance(key, ast.Constant) and key.value == attribute and _names(node.args[2], function):
                yield node.lineno


def _names(value: ast.expr, function: str) -> bool:
    return any(
        (isinstance(one, ast.Name) and one.id == function) or (isinstance(one, ast.Attribute) and one.attr == function)
        for one in ast.walk(value)
    )
