"""Trainer's own call that switches checkpointing on, taken out of the installed transformers.

The call's keyword arguments grow from release to release (``every_n_layers`` in 5.16, ``offload`` in 5.17), and its method and
the setting were renamed in 5.23. So the statement is taken out of Trainer's source and run as it is: it passes what this
release passes, and errors name its line. Trainer itself needs accelerate and more, which need not be installed.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import functools
import importlib
import json
import os
import re
import sys
import traceback
from collections.abc import Iterator
from types import FrameType, MethodType, SimpleNamespace
from typing import Any, Callable, NamedTuple

from . import places, stack

METHODS = ("activation_checkpointing_enable", "gradient_checkpointing_enable")
"""Methods of a model that switch checkpointing on, newest first."""

SETTER = "_set_gradient_checkpointing"
"""The method that these call."""

_REFUSED = re.compile(r"(?:[\w.<>]+\.)?(?P<name>[\w<>]+)\(\) (?:got |takes |missing )")
"""What Python says of a call whose arguments do not fit."""

SETTINGS = ("activation_checkpointing", "gradient_checkpointing")
"""The names of the setting in ``TrainingArguments``, newest first; its arguments are in ``<name>_kwargs``."""


class TrainersCall(NamedTuple):
    """The statement with which Trainer switches checkpointing on."""

    file: str
    line: int
    """The line of the first call of a model's method."""
    setting: str
    """The attribute of the arguments that it reads."""
    run: Callable[[Any, Any], None]
    """Takes an object with the attribute ``model``, and the arguments."""


def methods(model: Any) -> list[Any]:
    """What a model's methods that switch checkpointing on are now; another list once one was replaced."""
    found = [getattr(model, name, None) for name in (*METHODS, SETTER)]
    return [getattr(one, "__func__", one) for one in found]


def refused_by(error: TypeError, model: Any) -> dict[str, Any] | None:
    """Where the method of a model is defined that was called with arguments that it does not take; nothing if it was run."""
    found = _REFUSED.match(str(error))
    name = found["name"] if found else ""
    entered = {frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)}
    codes = [getattr(_innermost(method), "__code__", None) for method in methods(model)]
    refusing = (code for code in codes if code is not None and code.co_name == name and code not in entered)
    return next(map(places.of_code, refusing), None)


def _innermost(method: Any) -> Any:
    """The function in a partial or a method."""
    while isinstance(method, (functools.partial, MethodType)):
        method = method.func if isinstance(method, functools.partial) else method.__func__
    return method


@contextlib.contextmanager
def refusals(model: Any) -> Iterator[None]:
    """A context that gives a ``TypeError`` the place of the model's method that refused a call, as ``refused_by``."""
    try:
        yield
    except TypeError as error:
        error.refused_by = refused_by(error, model)  # type: ignore[attr-defined]
        raise


class _Recorder:
    """Stands for a model: its methods that switch checkpointing on only note how they are called."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.call: dict[str, Any] | None = None

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._model, name)
        return functools.partial(self._note, name) if name in METHODS else value

    def _note(self, method: str, **keywords: Any) -> None:
        caller: FrameType = sys._getframe(1)
        place = places.at(caller.f_code.co_filename, caller.f_lineno, caller.f_code.co_name)
        self.call = {"method": method, "keywords": json.dumps(keywords), "by": place}


def trainers_arguments(model: Any, keywords: dict[str, Any] | None) -> dict[str, Any] | None:
    """How this release's Trainer calls the model's method, as evidence; nothing where it cannot be written down."""
    recorder = _Recorder(model)
    with contextlib.suppress(AttributeError, TypeError):
        switch_on(recorder, keywords)
    return recorder.call


def switch_on(model: Any, keywords: dict[str, Any] | None) -> None:
    """Switch checkpointing on in a model as this release's Trainer does.

    Args:
        model: A transformers model, or an adapter around one.
        keywords: What a job gives as ``gradient_checkpointing_kwargs``; ``None`` where it gives nothing.

    Raises:
        AttributeError: The model has no method for it.
    """
    call = trainers_call()
    if call is None:
        name = next((one for one in METHODS if hasattr(model, one)), METHODS[-1])
        getattr(model, name)(**{name.replace("_enable", "_kwargs"): keywords})
        return
    arguments: dict[str, Any] = dict.fromkeys(SETTINGS, True)
    arguments.update({f"{name}_kwargs": keywords for name in SETTINGS})
    call.run(SimpleNamespace(model=model), SimpleNamespace(**arguments))


@functools.cache
def trainers_call() -> TrainersCall | None:
    """Trainer's statement in the installed transformers; nothing if none is found in its source."""
    file = os.path.join(stack.root_of("transformers"), "trainer.py")
    if not os.path.isfile(file):
        return None
    with open(file, encoding="utf-8") as handle:
        tree = ast.parse(handle.read())
    for method in ast.walk(tree):
        if not isinstance(method, ast.FunctionDef):
            continue
        for statement in ast.walk(method):
            setting = _setting(statement)
            call = _call(statement) if setting else None
            if call is not None and isinstance(statement, ast.If):
                return TrainersCall(file, call.lineno, setting, _compiled(method.name, statement, tree, file))
    return None


def _setting(statement: ast.AST) -> str:
    """The setting that a statement asks for: ``if args.gradient_checkpointing:``."""
    test = statement.test if isinstance(statement, ast.If) else None
    return test.attr if isinstance(test, ast.Attribute) and test.attr in SETTINGS else ""


def _call(statement: ast.AST) -> ast.Call | None:
    calls = (one for one in ast.walk(statement) if isinstance(one, ast.Call))
    return next((one for one in calls if isinstance(one.func, ast.Attribute) and one.func.attr in METHODS), None)


def _compiled(name: str, statement: ast.If, tree: ast.Module, file: str) -> Callable[[Any, Any], None]:
    """A function of the method's name that consists of the statement, at its own lines."""
    function = ast.parse(f"def {name}(self, args): pass").body[0]
    assert isinstance(function, ast.FunctionDef)
    function.body = [statement]
    for node in ast.walk(function.args):
        ast.copy_location(node, statement)
    ast.copy_location(function, statement)
    module = ast.Module([function], [])
    names: dict[str, Any] = {"__name__": "transformers.trainer", "__package__": "transformers"}
    used = {one.id for one in ast.walk(statement) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Load)}
    stored = {one.id for one in ast.walk(statement) if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)}
    for one in used - stored - {"self", "args"} - set(vars(builtins)):
        names[one] = _global(one, tree)
    exec(compile(module, file, "exec"), names)  # noqa: S102 - transformers' own code
    run: Callable[[Any, Any], None] = names[name]
    return run


def _global(name: str, tree: ast.Module) -> Any:
    """A name of Trainer's module: what it imports, or else what it defines."""
    for statement in tree.body:
        if isinstance(statement, ast.Import):
            for one in statement.names:
                if (one.asname or one.name) == name:
                    return importlib.import_module(one.name)
        elif isinstance(statement, ast.ImportFrom):
            for one in statement.names:
                if (one.asname or one.name) == name:
                    origin = importlib.import_module(f"{'.' * statement.level}{statement.module or ''}", "transformers")
                    return getattr(origin, one.name)
    return getattr(importlib.import_module("transformers.trainer"), name)
