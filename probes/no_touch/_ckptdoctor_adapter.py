"""One file and over 300 lines: every Python of a job imports it at start-up, from ``PYTHONPATH``, under this one name.

Adapts the callables that models pass, so that checkpoint functions written for another shape find the layer in them.

``install`` waits for transformers and puts a guard around each checkpoint function that a model is given. The guard passes on
what it gets, unchanged. Only where the function asks the callable for an attribute that it lacks, before the layer has run,
the guard calls the function again with a callable that has the attribute. Python 3.9 and later, standard library only; torch
is used once the program itself has imported it.
"""

from __future__ import annotations

import functools
import inspect
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import CodeType, ModuleType
from typing import Any, Callable

import _ckptdoctor_hook as hook

MODULE = "transformers.modeling_utils"
METHOD = "_set_gradient_checkpointing"
ARGUMENT = "gradient_checkpointing_func"
OWNERS = ("torch", "deepspeed")
"""Packages whose checkpoint functions need no attribute of the callable; they get no guard."""

_MOST_PARTS = 1000
"""No model passes a callable of more parts."""

_MISSING = re.compile(r"'([^']+)' object has no attribute '(__self__|func)'")

_said = False


# -- the hook ---------------------------------------------------------------------------------------------------------


def install() -> None:
    """Wait for transformers."""
    hook.when_executed(MODULE, adapt_transformers)


def adapt_transformers(module: ModuleType) -> None:
    """Wrap the method by which every model of transformers is given its checkpoint function."""
    owner = module.PreTrainedModel
    method = vars(owner).get(METHOD)
    if method is None or hasattr(method, "_ckptdoctor"):
        return
    signature = inspect.signature(method)
    parameter = signature.parameters.get(ARGUMENT)
    if parameter is None:  # before transformers 4.35 models had no function to be given
        return

    @functools.wraps(method)
    def set_gradient_checkpointing(*args: Any, **kwargs: Any) -> Any:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError:
            return method(*args, **kwargs)  # which says what is wrong with them
        given = bound.arguments.get(ARGUMENT, parameter.default)
        adapted = guard(given)
        if adapted is not given:
            bound.arguments[ARGUMENT] = adapted
        return method(*bound.args, **bound.kwargs)

    set_gradient_checkpointing._ckptdoctor = True  # type: ignore[attr-defined]
    setattr(owner, METHOD, set_gradient_checkpointing)


# -- the guard -------------------------------------------------------------------------------------------------------


def guard(function: Any) -> Any:
    """Put a guard around a checkpoint function.

    Args:
        function: ``function(callable, *inputs)`` runs the callable with recomputation.

    Returns:
        The guard, or the very same object where none is needed: around torch's and DeepSpeed's own, and around a guard.
    """
    if isinstance(function, Guard) or not callable(function) or _needs_none(function):
        return function
    return Guard(function)


class Guard:
    """Stands in front of a checkpoint function, and looks like it."""

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self._ckptdoctor_function = function
        self._ckptdoctor_fits: set[Any] = set()
        self._ckptdoctor_adapts: set[Any] = set()

    def __getattr__(self, name: str) -> Any:
        # While it is being made there is nothing yet to ask.
        return getattr(object.__getattribute__(self, "_ckptdoctor_function"), name)

    def __repr__(self) -> str:
        return f"<guard around {self._ckptdoctor_function!r}>"

    def __deepcopy__(self, memo: Any) -> Guard:
        return self  # as a function does

    def __reduce__(self) -> Any:
        # To be loaded where there is no ckptdoctor.
        return functools.partial, (self._ckptdoctor_function,)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the function, with an adapted callable where it needs one."""
        if not args or _is_compiling():
            return self._ckptdoctor_function(*args, **kwargs)
        passed, shape = args[0], _shape(args[0])
        if shape not in self._ckptdoctor_adapts:
            try:
                with _watched(passed if shape not in self._ckptdoctor_fits else None) as has_run:
                    result = self._ckptdoctor_function(*args, **kwargs)
                self._ckptdoctor_fits.add(shape)
                return result
            except AttributeError as error:
                adapted = None if has_run else self._adapted_for(error, passed)
                if adapted is None:
                    raise
            self._ckptdoctor_adapts.add(shape)
        else:
            adapted = adapt(passed) or passed
        return self._ckptdoctor_function(adapted, *args[1:], **kwargs)

    def _adapted_for(self, error: AttributeError, passed: Any) -> Adapted | None:
        """What to pass instead, if the error is the callable's lacking something, and the layer has not run."""
        try:
            adapted = adapt(passed)
            if adapted is None:
                return None
            layer, name = layer_of(passed), _missing(error, passed)
            if not name or not hasattr(adapted, name) or _ran(error, passed, layer):
                return None
            _announce(f"adapting what {type(layer).__name__} is passed as, for {_label(self)}, which reads `{name}`")
            return adapted
        except Exception:  # the error that there is says more
            return None


@contextmanager
def _watched(passed: Any) -> Iterator[list[bool]]:
    """Watch whether a layer, or any module in it, is run; a list that is no longer empty then.

    A model may pass the layer's bare forward, which runs no hook of the layer itself; so all of its modules are
    watched. This slows modules down a little, so that it is done for the first callable of each shape only.
    """
    has_run: list[bool] = []
    layer = None if passed is None else layer_of(passed)
    if layer is None:
        yield has_run
        return
    watched = {id(module) for module in layer.modules()}

    def note(module: Any, inputs: Any) -> None:
        if id(module) in watched:
            has_run.append(True)

    handle = sys.modules["torch"].nn.modules.module.register_module_forward_pre_hook(note)
    try:
        yield has_run
    finally:
        handle.remove()


def _is_compiling() -> bool:
    """Whether torch.compile reads this as a program: it can make nothing of what else is done here."""
    compiler = getattr(sys.modules.get("torch"), "compiler", None)
    return compiler is not None and hasattr(compiler, "is_compiling") and bool(compiler.is_compiling())


def _needs_none(function: Any) -> bool:
    """Whether a function is torch's or DeepSpeed's own through and through."""
    owners = [owner for part in _wrappers(function) for owner in _owners(part)]
    return all(owner.partition(".")[0] in OWNERS for owner in owners)


def _wrappers(function: Any) -> Iterator[Any]:
    """A function without its partials, then what it is wrapped around."""
    for _ in range(_MOST_PARTS):
        while isinstance(function, functools.partial):
            function = function.func
        yield function
        function = getattr(function, "__wrapped__", None)
        if function is None:
            return


def _owners(function: Any) -> Iterator[str]:
    """The modules whose code runs when a function is called; its ``__module__`` may be borrowed by ``functools.wraps``."""
    where = getattr(function, "__globals__", None)
    yield str(where.get("__name__") if where is not None else getattr(function, "__module__", None))
    owner = getattr(function, "__self__", None)
    if owner is not None and hasattr(function, "__func__"):
        yield str((owner if isinstance(owner, type) else type(owner)).__module__)


def _shape(passed: Any) -> tuple[type, ...]:
    """What a callable is a partial of what of; those of one shape fit a function, or do not, alike."""
    types = [type(passed)]
    while isinstance(passed, functools.partial):
        passed = passed.func
        types.append(type(passed))
    return tuple(types)


# -- what a callable is made of ---------------------------------------------------------------------------------------


def layer_of(passed: Any) -> Any:
    """The layer that a callable runs: the ``torch.nn.Module`` that it holds; None if it holds none."""
    base = getattr(getattr(sys.modules.get("torch"), "nn", None), "Module", None)
    return None if base is None else next((part for part in _parts(passed, base) if isinstance(part, base)), None)


def _parts(passed: Any, base: type) -> Iterator[Any]:
    """A callable and all that it is made of, what it closes over last: that may hold other modules besides the layer."""
    pending: list[Any] = [passed]
    closures: list[Any] = []
    seen: dict[int, Any] = {}  # alive, so that no id is given twice
    while (pending or closures) and len(seen) < _MOST_PARTS:
        item = (pending or closures).pop(0)
        if item is None or id(item) in seen:
            continue
        seen[id(item)] = item
        yield item
        if isinstance(item, base):
            continue
        held = [item.func, *item.args] if isinstance(item, functools.partial) else []
        linked = [getattr(item, name, None) for name in ("__self__", "__func__", "__wrapped__")]
        pending[:0] = [linked[0], *held, *linked[1:]]
        for cell in getattr(item, "__closure__", None) or ():
            with suppress(ValueError):  # not assigned yet
                closures.append(cell.cell_contents)


def _missing(error: AttributeError, passed: Any) -> str:
    """The attribute that a callable, or a part of it, was asked for and lacks; empty if the error is of something else."""
    parts = list(_parts(passed, sys.modules["torch"].nn.Module))
    name, owner = getattr(error, "name", None), getattr(error, "obj", None)
    if name and owner is not None:
        return name if any(owner is part for part in parts) else ""
    found = _MISSING.fullmatch(str(error))  # Python 3.9 says it in words only
    if found is None:
        return ""
    types = {word for part in parts for word in (type(part).__name__, f"{type(part).__module__}.{type(part).__name__}")}
    return found[2] if found[1] in types else ""


def _ran(error: AttributeError, passed: Any, layer: Any) -> bool:
    """Whether an error comes from below the callable."""
    base = sys.modules["torch"].nn.Module
    codes = {code for whole in (passed, layer.forward) for code in map(_code, _parts(whole, base)) if code}
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code in codes:
            return True
        trace = trace.tb_next
    return False


def _code(part: Any) -> CodeType | None:
    # Those of torch.nn.Module are every module's: one that the checkpoint function runs itself says nothing.
    code = getattr(part, "__code__", None)
    shared = getattr(part, "__module__", None) == "torch.nn.modules.module"
    return code if isinstance(code, CodeType) and not shared else None


# -- the callable that fits -------------------------------------------------------------------------------------------


def adapt(passed: Any) -> Adapted | None:
    """Make a callable in which every checkpoint function finds the layer; None where there is no layer in it."""
    layer = layer_of(passed)
    return None if layer is None else Adapted(passed, Layer(layer, passed))


class Bound:
    """Looks like a bound method of the layer, and runs the original callable, with all that this binds."""

    def __init__(self, original: Callable[..., Any], layer: Layer) -> None:
        self._ckptdoctor_original = original
        self.__self__ = layer

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Run the original callable."""
        return self._ckptdoctor_original(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name in ("func", "args", "keywords"):
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")
        original = object.__getattribute__(self, "_ckptdoctor_original")
        layer = object.__getattribute__(self, "__self__")
        # What was written for models that pass the layer itself asks the callable for its parameters.
        owner = layer if not name.startswith("__") and not hasattr(original, name) else original
        return getattr(owner, name)

    def __repr__(self) -> str:
        return f"<{self._ckptdoctor_original!r}, adapted>"


class Adapted(Bound):
    """Looks like a partial of a bound method as well, which binds nothing."""

    def __init__(self, original: Callable[..., Any], layer: Layer) -> None:
        super().__init__(original, layer)
        self.func = Bound(original, layer)
        self.args: tuple[Any, ...] = ()
        self.keywords: dict[str, Any] = {}


class Layer:
    """Is the layer in everything, but that to run it is to run the original callable: some functions run what they find."""

    __slots__ = ("__weakref__", "_ckptdoctor_layer", "_ckptdoctor_original")

    def __init__(self, layer: Any, original: Callable[..., Any]) -> None:
        object.__setattr__(self, "_ckptdoctor_layer", layer)
        object.__setattr__(self, "_ckptdoctor_original", original)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Run the original callable."""
        return self._ckptdoctor_original(*args, **kwargs)

    forward = __call__

    @property  # type: ignore[misc] # isinstance asks for it
    def __class__(self) -> Any:
        return type(self._ckptdoctor_layer)

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "_ckptdoctor_layer"), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._ckptdoctor_layer, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(self._ckptdoctor_layer, name)

    def __eq__(self, other: object) -> bool:
        return bool(self._ckptdoctor_layer == other)

    def __hash__(self) -> int:
        return hash(self._ckptdoctor_layer)

    def __dir__(self) -> list[str]:
        return dir(self._ckptdoctor_layer)

    def __repr__(self) -> str:
        return repr(self._ckptdoctor_layer)


# -- what is said -----------------------------------------------------------------------------------------------------


def _label(function: Any) -> str:
    """The code behind a checkpoint function, for people."""
    function = next(part for part in _wrappers(function) if not isinstance(part, Guard))
    code = getattr(function, "__code__", None)
    name = getattr(code, "co_name", "") or getattr(function, "__qualname__", "") or type(function).__qualname__
    return f"{next(_owners(function))}.{name}"


def _announce(text: str) -> None:
    """Tell it once in a job, from its first process."""
    global _said
    rank = os.environ.get("RANK") or os.environ.get("LOCAL_RANK") or "0"
    if not _said and rank == "0":
        _said = True
        hook.say(text)
