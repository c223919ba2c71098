"""Who replaced what: parts of a model, of transformers and of torch on which checkpointing depends.

A trainer patches a model before it trains it: it replaces ``forward`` of a class or of one layer, torch's ``checkpoint`` or a
module's name for it, or a method that switches checkpointing on. Each replacement is found with the line that made it, by
comparing what is there after every line of the files that are watched. Nothing here depends on a probe or on torch: it can
watch a job that really runs.
"""

from __future__ import annotations

import functools
import operator
import sys
from types import FrameType, MethodType
from typing import Any, Callable, NamedTuple

from . import imported, places, replacing_lines

SWITCHES = (
    "_set_gradient_checkpointing",
    "activation_checkpointing_enable",
    "gradient_checkpointing_enable",
    "_activation_checkpointing_enable",
    "enable_input_require_grads",
)
"""Methods of a model that switch checkpointing on."""

OF_LAYERS = ("forward", "__call__")
"""What a layer may be checkpointed in."""

SHARED = {"torch.utils.checkpoint": ("checkpoint",), "transformers.modeling_layers": ("GradientCheckpointingLayer",)}
"""Names that other modules import: each module's own name for them is watched too."""

MOST_KEPT = 60
"""Replacements that are told."""

_MISSING = object()


class Slot(NamedTuple):
    """A place that holds something replaceable."""

    get: Callable[[str, Any], Any]
    """Looks a name of a class, a module or an object up, as ``dict.get`` does."""
    name: str
    label: str


class Replacement(NamedTuple):
    """Something that was replaced."""

    what: str
    """``Glm4DecoderLayer.forward``, ``model.layers.0.forward``, ``torch.utils.checkpoint.checkpoint``."""
    by: tuple[str, int, str] | None
    """File, line and function; nothing where no watched line did it."""
    new: Any


class _Holders:
    """The modules' own names for something shared, as far as modules were looked through."""

    def __init__(self, shared: Any) -> None:
        self.shared = shared
        self.names: list[tuple[dict[str, Any], str, str]] = []
        """The names of a module, one of them, and both as a label."""
        self._looked_at: set[str] = set()
        self._newest = ""
        """The module that was the newest."""

    def look(self) -> None:
        """Look through the modules that came since."""
        since = imported.since(self._newest)
        for key in since:
            held = getattr(sys.modules.get(key), "__dict__", {})
            if key not in self._looked_at and isinstance(held, dict):
                self.names += [(held, own, f"{key}.{own}") for own, value in list(held.items()) if value is self.shared]
        self._looked_at.update(since)
        self._newest = imported.newest()


_KNOWN: dict[tuple[str, str], _Holders] = {}


def _holders(home: str, name: str) -> list[tuple[dict[str, Any], str, str]]:
    """The names that modules have for something shared. Each module is looked through once, in whichever process is first."""
    shared = getattr(sys.modules[home], name, None)
    if shared is None:
        return []
    if (home, name) not in _KNOWN or _KNOWN[home, name].shared is not shared:
        _KNOWN[home, name] = _Holders(shared)
    _KNOWN[home, name].look()
    return _KNOWN[home, name].names


def warm_up() -> None:
    """Look through the modules that are there, for all processes that are forked: thousands, and a fork pays for each page."""
    for home, names in SHARED.items():
        for name in names if home in sys.modules else ():
            _holders(home, name)


class Watch:
    """Watches places while other code runs in this thread."""

    def __init__(self, is_watched: Callable[[str], bool]) -> None:
        """``is_watched`` says of a file whether its lines are told apart; other lines count as the line that called them."""
        self._is_watched = functools.lru_cache(maxsize=None)(is_watched)
        self._slots: list[Slot] = []
        self._known: set[tuple[int, str]] = set()
        self._values: list[Any] = []
        self._originals: list[Any] = []
        self._at: tuple[str, int, str] | None = None
        """The last line that may have replaced something."""
        self._previous: Any = None
        self.found: list[Replacement] = []
        self._add_shared()

    def add_modules(self, modules: list[Any]) -> None:
        """Watch the classes that modules define, and the modules' names for them."""
        for module in modules:
            for name, value in list(vars(module).items()):
                if isinstance(value, type) and value.__module__ == module.__name__:
                    self._add(vars(module), name, f"{module.__name__}.{name}")
                    self._add_class(value)

    def add_model(self, model: Any) -> None:
        """Watch a model: each of its modules, and their classes."""
        for path, module in model.named_modules():
            for name in (*OF_LAYERS[:1], *(SWITCHES if module is model else ())):
                self._add(vars(module), name, f"{path}.{name}" if path else name)
            for one in type(module).__mro__:
                if not one.__module__.startswith("torch."):
                    self._add_class(one)

    def _add_class(self, one: type) -> None:
        for name in (*OF_LAYERS, *SWITCHES):
            if name in OF_LAYERS or name in vars(one):
                self._add(one, name, f"{one.__name__}.{name}")

    def _add_shared(self) -> None:
        for home, names in SHARED.items():
            for name in names if home in sys.modules else ():
                self._add(vars(sys.modules[home]), name, f"{home}.{name}")
                for held, own, label in _holders(home, name):
                    self._add(held, own, label)
        trainer = getattr(sys.modules.get("transformers.trainer"), "Trainer", None)
        for name, value in list(vars(trainer).items()) if trainer is not None else ():
            if callable(value):
                self._add(trainer, name, f"Trainer.{name}")

    def _add(self, holder: Any, name: str, label: str) -> None:
        key = (id(holder), name)
        if key not in self._known:
            self._known.add(key)
            names = vars(holder) if isinstance(holder, type) else holder
            self._slots.append(Slot(names.get, name, label))
            self._values.append(names.get(name, _MISSING))
            self._originals.append(self._values[-1])

    def __enter__(self) -> Watch:
        self._previous = sys.gettrace()
        self._at = None
        sys.settrace(self._trace)
        return self

    def __exit__(self, *error: object) -> None:
        sys.settrace(self._previous)
        self.look()
        self._at = None

    def look(self) -> None:
        """Note what is no longer as it was."""
        values = [get(name, _MISSING) for get, name, _ in self._slots]
        if all(map(operator.is_, values, self._values)):  # after nearly every line
            return
        for slot, before, value in zip(self._slots, self._values, values):
            if value is not before:
                self.found.append(Replacement(slot.label, self._at, value))
        self._values = values

    def _trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        if not self._is_watched(frame.f_code.co_filename):
            return None
        lines = replacing_lines.of(frame.f_code)
        if not lines:
            return None

        def trace_lines(frame: FrameType, event: str, argument: Any) -> Any:
            if event == "return":
                self.look()
                caller = frame.f_back
                while caller is not None and not self._is_watched(caller.f_code.co_filename):
                    caller = caller.f_back
                self._at = _place(caller) if caller is not None else None
            elif frame.f_lineno in lines:
                self.look()
                self._at = _place(frame)
            return trace_lines

        return trace_lines

    def told(self) -> list[dict[str, Any]]:
        """What was replaced and stayed so, as evidence: the last replacement of each place."""
        last = {one.what: one for one in self.found}
        originals = {slot.label: value for slot, value in zip(self._slots, self._originals)}
        stayed = [one for one in last.values() if one.new is not _MISSING and one.new is not originals[one.what]]
        return [_told(one) for one in stayed[:MOST_KEPT]]


def _place(frame: FrameType) -> tuple[str, int, str]:
    code = frame.f_code
    return code.co_filename, frame.f_lineno, str(getattr(code, "co_qualname", code.co_name))


def _told(one: Replacement) -> dict[str, Any]:
    new = one.new
    while isinstance(new, (functools.partial, MethodType)):
        new = new.func if isinstance(new, functools.partial) else new.__func__
    if isinstance(new, type):
        new = vars(new).get("forward", new)
    code = getattr(new, "__code__", None)
    return {
        "what": one.what,
        "by": places.at(*one.by) if one.by is not None else None,
        "with_": places.of_code(code) if code is not None else None,
    }
