"""An exception as evidence: where it was raised, on what, and whether CUDA was missing."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any

import torch

from . import callables, places

LIMIT = 4000
"""Characters of a message that are kept."""

_NO_ATTRIBUTE = re.compile(r"has no attribute '(\w+)'")
_LAZY = "because of the following error (look up to see its traceback)"
"""What transformers says of a module that fails to import."""

_LOOKUPS = frozenset({"__getattr__", "__getattribute__"})


def evidence(error: BaseException, passed: Any = None) -> dict[str, Any]:
    """What an exception tells.

    Args:
        error: The exception, with its traceback.
        passed: The callable that was passed to the checkpoint function last, to tell whether the attribute that is
            missing was read from it.
    """
    error, walked = _unwrapped(error)
    told = [step for step in walked if not _is_noise(step.tb_frame)]
    read = _attributes_name(error)
    frames = [places.of_traceback(step, step is told[-1], read if step is told[-1] else "") for step in told]
    found: dict[str, Any] = {
        "type": callables.type_name(error),
        "message": str(error)[:LIMIT],
        "frames": frames,
        "needs_cuda": _needs_cuda(walked),
    }
    if refused := getattr(error, "refused_by", None):
        found["refused_by"] = refused
    attribute = _attribute(error, read, walked, passed)
    if attribute:
        found["attribute"] = attribute
    return found


def _unwrapped(error: BaseException) -> tuple[BaseException, list[TracebackType]]:
    """The error behind those in which transformers' lazy modules wrap what fails to import, and the frames down to it."""
    walked = list(_walk(error.__traceback__))
    while error.__cause__ is not None and _LAZY in str(error):
        error = error.__cause__
        walked += _walk(error.__traceback__)
    return error, walked


def _walk(traceback: TracebackType | None) -> Iterator[TracebackType]:
    while traceback is not None:
        yield traceback
        traceback = traceback.tb_next


def _is_noise(frame: FrameType) -> bool:
    """Our own frames, and the ``__getattr__`` that raised on behalf of whoever read the attribute."""
    return places.is_ours(frame.f_code.co_filename) or frame.f_code.co_name in _LOOKUPS


def _needs_cuda(walked: list[TracebackType]) -> bool:
    if torch.cuda.is_available():
        return False
    initialisation = os.path.join("torch", "cuda", "__init__.py")
    return any(step.tb_frame.f_code.co_filename.endswith(initialisation) for step in walked)


def _attributes_name(error: BaseException) -> str:
    """The attribute that an AttributeError is about; empty for any other error."""
    if not isinstance(error, AttributeError):
        return ""
    named = _NO_ATTRIBUTE.search(str(error))
    return getattr(error, "name", None) or (named.group(1) if named else "")


def _attribute(error: BaseException, name: str, walked: list[TracebackType], passed: Any) -> dict[str, Any] | None:
    """The attribute that an AttributeError is about, and where its object stands in the callable passed."""
    if not isinstance(error, AttributeError) or not name:
        return None
    target = _object(error, walked)
    held = callables.parts(passed) if passed is not None else ()
    where, found = next(
        (
            (path, part)
            for path, part in held
            if part is target or (target is None and type(part).__name__ in str(error) and not hasattr(part, name))
        ),
        ("", target),
    )
    return {"name": name, "object": callables.type_name(found) if found is not None else "", "in_callable": where}


def _object(error: AttributeError, walked: list[TracebackType]) -> Any:
    """The object that lacks the attribute: what Python 3.10 notes, or the one whose ``__getattr__`` raised."""
    if getattr(error, "obj", None) is not None:
        return error.obj
    frame = walked[-1].tb_frame if walked else None
    if frame is not None and frame.f_code.co_name in _LOOKUPS:
        return frame.f_locals.get("self")
    return None
