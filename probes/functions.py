"""Checkpoint functions, each enabled the way its own users enable it."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
import os
import sys
from typing import Any, Callable, Optional

import torch
from torch.utils.checkpoint import checkpoint

from . import catalog, loading, places, switching_on

WRAPPER = "torch:wrapper"
"""Layers in torch's ``checkpoint_wrapper``: the engine puts them there, in the order in which accelerate does."""

Loaded = Optional[dict[str, Any]]


class FunctionUnavailableError(Exception):
    """The checkpoint function that was asked for cannot be had."""


class NeedsGpuError(FunctionUnavailableError):
    """The checkpoint function takes hold of a GPU when it is switched on, and there is none; it may be simulated."""


def enable(
    name: str,
    model: torch.nn.Module,
    replacement: str = "",
    reentrant: bool | None = None,
) -> Loaded:
    """Switch checkpointing on in a model.

    Args:
        name: ``torch:reentrant``, ``torch:non-reentrant``, ``torch:wrapper``, ``deepspeed``, a key of ``catalog.FUNCTIONS``, or
            the user's own as ``file.py:function`` or ``package.module:function``.
        model: A transformers model, or our own.
        replacement: The file to load in place of the one that defines the function, such as a patched copy.
        reentrant: For a trainer's: what the job sets; its own default where the job sets nothing.

    Returns:
        Where the function came from, for those that are loaded here; and, to be taken out, ``around``: a context in which
        every step is taken, where the function needs one.

    Raises:
        FunctionUnavailableError: There is no such file, module or function.
        TypeError: A method of the model refuses the call that switches checkpointing on; ``refused_by`` is its place.
    """
    with switching_on.refusals(model):
        return _enable(name, model, replacement, reentrant)


def _enable(name: str, model: torch.nn.Module, replacement: str, reentrant: bool | None) -> Loaded:
    if name == WRAPPER:
        return None
    if name.startswith("torch:"):
        return enable_torch(model, use_reentrant=name == "torch:reentrant")
    if name == "deepspeed":
        from .engines.deepspeed import import_deepspeed

        return pass_to(model, import_deepspeed().checkpointing.checkpoint)
    if name in catalog.FUNCTIONS:
        trainer = importlib.import_module(f".trainers.{catalog.FUNCTIONS[name]['module']}", __package__)
        module, loaded = loading.load(name, replacement)
        loaded["around"] = trainer.enable(module, model, name, reentrant is not False)
        return loaded
    before = switching_on.methods(model)
    function, loaded = _users_own(name, replacement)
    if switching_on.methods(model) != before:
        switching_on.switch_on(model, None)  # the file replaces a method that Trainer calls in a job
    pass_to(model, function)
    return loaded


def pass_to(model: torch.nn.Module, function: Callable[..., Any]) -> Loaded:
    """Make a model pass its layers to this very function."""
    if hasattr(model, "_set_gradient_checkpointing"):
        model._set_gradient_checkpointing(enable=True, gradient_checkpointing_func=function)
    else:
        # Our own model stands for transformers', so that under `ckptdoctor run` it gets what they get.
        adapter = sys.modules.get("_ckptdoctor_adapter")
        model.checkpoint_with(adapter.guard(function) if adapter is not None else function)
    return None


def enable_torch(model: torch.nn.Module, use_reentrant: bool) -> Loaded:
    """Switch torch's own function on, as transformers' Trainer does."""
    arguments = {"use_reentrant": use_reentrant}
    if has_switch(model):
        switching_on.switch_on(model, arguments)
        return None
    return pass_to(model, functools.partial(checkpoint, **arguments))


def has_switch(model: torch.nn.Module) -> bool:
    """Whether a model has a method that switches checkpointing on; our own has none."""
    return any(hasattr(model, name) for name in switching_on.METHODS)


def _users_own(name: str, replacement: str) -> tuple[Callable[..., Any], dict[str, Any]]:
    where, _, attribute = name.rpartition(":")
    if not where or not attribute:
        raise FunctionUnavailableError(f"'{name}' is not of the form file.py:function or package.module:function")
    is_file = where.endswith(".py")
    module = _from_file(replacement or where, where) if is_file else _from_module(where)
    function = _attribute(module, attribute)
    if replacement and not is_file:
        module = _replaced(module, function, replacement)
        function = _attribute(module, attribute)
    if not callable(function):
        raise FunctionUnavailableError(f"{where} defines no function '{attribute}'")
    code = getattr(function, "__code__", None)
    place = (
        places.of_code(code) if code is not None else places.at(str(getattr(module, "__file__", where)), 1, attribute)
    )
    return function, {"place": place, "how": "file" if is_file else "import", "stubbed": []}


def _attribute(module: Any, dotted: str) -> Any:
    return functools.reduce(lambda owner, part: getattr(owner, part, None), dotted.split("."), module)


def _replaced(module: Any, function: Any, file: str) -> Any:
    """The module again, with another file in place of the one that defines the function."""
    home = sys.modules.get(getattr(function, "__module__", ""), module)
    spec = importlib.util.spec_from_file_location(
        home.__name__, file, submodule_search_locations=getattr(home, "__path__", None)
    )
    if spec is None or spec.loader is None:
        raise FunctionUnavailableError(f"{file} is not a Python file")
    fresh = importlib.util.module_from_spec(spec)
    sys.modules[home.__name__] = fresh
    spec.loader.exec_module(fresh)
    parent, _, name = home.__name__.rpartition(".")
    if parent in sys.modules:
        setattr(sys.modules[parent], name, fresh)
    # A module that only imports the function takes it from the new one.
    return fresh if home is module else importlib.reload(module)


def _from_file(file: str, original: str) -> Any:
    """A file as a module, with the modules and files that lie beside the original one within its reach.

    As for a script, its own folder comes first while it is loaded; later, what the stack imports must not be found there.
    """
    if not os.path.isfile(file):
        raise FunctionUnavailableError(f"there is no file {file}")
    spec = importlib.util.spec_from_file_location(f"_checkpoint_function_{abs(hash(file))}", file)
    if spec is None or spec.loader is None:
        raise FunctionUnavailableError(f"{file} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    module.__file__ = original
    folder = os.path.dirname(os.path.abspath(original))
    with contextlib.suppress(OSError):
        os.chdir(folder)
    sys.path.insert(0, folder)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(folder)
        sys.path.append(folder)
    return module


def _from_module(dotted: str) -> Any:
    try:
        return importlib.import_module(dotted)
    except ModuleNotFoundError as error:
        if error.name and dotted.startswith(error.name):
            raise FunctionUnavailableError(f"there is no module '{dotted}' in this environment") from error
        raise
