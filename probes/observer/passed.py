"""What a layer is passed to which function as, read from the frames that lead to the layer's run."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Container
from types import CodeType, FrameType
from typing import Any, NamedTuple

import torch

from .. import callables, places

TORCHS = ("torch.utils.checkpoint", "checkpoint")
"""Module and name of torch's own checkpoint function."""

_MOST_FRAMES = 200


class Passed(NamedTuple):
    """One way in which a layer is passed."""

    handover: dict[str, Any]
    """As evidence, see ``Handover`` on the doctor's side."""
    function: str
    """The checkpoint function's code: its module and name."""
    reentrant: bool | None
    """Whether torch's function, further in, is asked for reentrant checkpointing; nothing where it is not called."""
    preserves: bool
    """Whether that restores random states."""


def place_of_forward(module: Any) -> dict[str, Any] | None:
    """Where a module's forward begins."""
    code = getattr(inspect.unwrap(type(module).forward), "__code__", None)
    return places.of_code(code) if code is not None else None


def place_of_wrapper(module: Any) -> dict[str, Any]:
    """Where torch's checkpoint wrapper runs what it holds."""
    return places.of_code(type(module).forward.__code__)


def codes_of(function: Any) -> CodeType | None:
    """The code that runs when a function is called; nothing where it has no Python code."""
    call = function if hasattr(function, "__code__") else getattr(function, "__func__", function)
    if not hasattr(call, "__code__"):
        call = vars(type(call)).get("__call__")
    return getattr(call, "__code__", None)


def find(codes: dict[CodeType, str]) -> Passed | None:
    """Look outward from here for the outermost call of a checkpoint function.

    Args:
        codes: The code of each known checkpoint function, with its name.
    """
    found: FrameType | None = None
    own: FrameType | None = None
    reentrant, preserves = None, True
    frame: FrameType | None = sys._getframe(1)
    for _ in range(_MOST_FRAMES):
        if frame is None:
            break
        if _is_torchs(frame):
            reentrant = frame.f_locals.get("use_reentrant")
            preserves = bool(
                frame.f_locals.get("preserve", frame.f_locals.get("kwargs", {}).get("preserve_rng_state", True))
            )
        if frame.f_code in codes or _is_torchs(frame):
            found = frame
        elif _is_functions(frame):
            own = frame
        frame = frame.f_back
    if found is not None:
        return Passed(_handover(found), codes.get(found.f_code, ".".join(TORCHS)), reentrant, preserves)
    return None if own is None else Passed(_handover(own), _name_of_function(own), None, True)


def is_inside(codes: Container[CodeType]) -> bool:
    """Whether a checkpoint function, with one of these codes or of autograd's kind, is running further out."""
    frame: FrameType | None = sys._getframe(1)
    for _ in range(_MOST_FRAMES):
        if frame is None:
            return False
        if frame.f_code in codes or _is_torchs(frame) or _is_functions(frame):
            return True
        frame = frame.f_back
    return False


def in_traceback(error: BaseException, codes: dict[CodeType, str]) -> dict[str, Any] | None:
    """What was passed to the checkpoint function in which an error was raised, and the callable itself as ``passed``."""
    trace = error.__traceback__
    found: FrameType | None = None
    while trace is not None:
        if found is None and (trace.tb_frame.f_code in codes or _is_torchs(trace.tb_frame)):
            found = trace.tb_frame
        trace = trace.tb_next
    return None if found is None else {"handover": _handover(found), "passed": _first(found)}


def _is_torchs(frame: FrameType) -> bool:
    return frame.f_code.co_name == TORCHS[1] and frame.f_globals.get("__name__") == TORCHS[0]


def _is_functions(frame: FrameType) -> bool:
    """Whether this is the forward of an ``autograd.Function`` to which a module, or something to call, was passed."""
    code = frame.f_code
    if code.co_name != "forward" or not code.co_argcount:
        return False
    context = frame.f_locals.get(code.co_varnames[0])
    return isinstance(context, torch.autograd.function.BackwardCFunction) and _first(frame) is not None


def _name_of_function(frame: FrameType) -> str:
    """A function of autograd's kind as reports have it: the module and the class."""
    context = frame.f_locals[frame.f_code.co_varnames[0]]
    return f"{frame.f_globals.get('__name__')}:{type(context).__name__.removesuffix('Backward')}"


def _first(frame: FrameType) -> Any:
    """The first argument of a call: the callable that was passed."""
    code = frame.f_code
    names = code.co_varnames[: code.co_argcount]
    given = [frame.f_locals.get(name) for name in names]
    if given and isinstance(given[0], torch.autograd.function.BackwardCFunction):
        given.pop(0)
    if code.co_flags & 0x04 and not any(map(callable, given)):  # *args
        given += list(frame.f_locals.get(code.co_varnames[code.co_argcount + code.co_kwonlyargcount], ()))
    return next((one for one in given if callable(one) and not isinstance(one, type)), None)


def _handover(frame: FrameType) -> dict[str, Any]:
    caller = frame.f_back
    while caller is not None and _is_between(caller):
        caller = caller.f_back
    passed = _first(frame)
    return {
        "callable": callables.describe(passed),
        **places.of_call(caller if caller is not None else frame),
        "keywords": sorted(str(key) for key in frame.f_locals.get("kwargs", {}) or {}),
        "calls": 1,
    }


def _is_between(frame: FrameType) -> bool:
    """Whether a frame only stands between the caller and the function: torch's decorators, the guard of ``run``."""
    name = str(frame.f_globals.get("__name__"))
    return name.startswith(("torch._dynamo", "torch._compile", "torch.autograd", "_ckptdoctor")) or places.is_ours(
        frame.f_code.co_filename
    )
