"""Frames and files, and which installed distribution owns them."""

from __future__ import annotations

import functools
import importlib.metadata
import linecache
import os
import sys
import sysconfig
from collections.abc import Iterator
from types import CodeType, FrameType, TracebackType
from typing import Any

from . import catalog, source_lines, stack

HERE = os.path.dirname(os.path.abspath(__file__))
"""This package's folder: its frames are left out of what is reported."""

_PASSING_ON = ("torch", "python")

Place = dict[str, Any]


def is_ours(filename: str) -> bool:
    """Whether a file belongs to the probes."""
    return os.path.abspath(filename).startswith(HERE + os.sep)


def of_frame(frame: FrameType) -> Place:
    """The place where a frame stands, with its lines of source."""
    return _with(_at_frame(frame, frame.f_lineno), source_lines.of_frame(frame, frame.f_lineno, frame.f_lasti))


def of_traceback(step: TracebackType, is_last: bool, attribute: str = "") -> Place:
    """The place of one step of a traceback.

    Its lines are left out where torch or Python only passes a call on: nearly every traceback has many such steps.

    Args:
        step: The step.
        is_last: Whether the error was raised there.
        attribute: The attribute that is read there, if one is known.
    """
    place = _at_frame(step.tb_frame, step.tb_lineno)
    if place["package"] in _PASSING_ON and not is_last:
        return place
    return _with(place, source_lines.of_frame(step.tb_frame, step.tb_lineno, step.tb_lasti, attribute))


def of_call(frame: FrameType) -> dict[str, Place | None]:
    """Where a frame calls a checkpoint function (``by``), and where it builds what it passes, if that is known (``built``)."""
    call = source_lines.of_call(frame)
    return {
        "by": _with(_at_frame(frame, frame.f_lineno), call.lines),
        "built": _with(_at_frame(frame, call.built_at), call.built) if call.built else None,
    }


def line_of(frame: FrameType) -> Place:
    """The place where a frame stands, without more of its source than its line."""
    return _at_frame(frame, frame.f_lineno)


def of_code(code: CodeType) -> Place:
    """The place where a function's code begins, with its lines of source."""
    return _with(at(code.co_filename, code.co_firstlineno, _name(code)), source_lines.of_code(code))


def _at_frame(frame: FrameType, line: int) -> Place:
    return at(frame.f_code.co_filename, line, _name(frame.f_code))


def _with(place: Place, source: dict[str, Any] | None) -> Place:
    return {**place, "source": source} if source else place


def at(file: str, line: int, function: str = "") -> Place:
    """A line of a file with the distribution that owns it."""
    file = os.path.abspath(file) if os.path.exists(file) else file
    package, version = owner(file)
    return {
        "file": file,
        "line": line,
        "function": function,
        "package": package,
        "version": version,
        "code": linecache.getline(file, line).strip()[:200],
    }


def _name(code: CodeType) -> str:
    return str(getattr(code, "co_qualname", code.co_name))


@functools.cache
def owner(file: str) -> tuple[str, str]:
    """Name and version of the distribution that installed a file.

    ``("python", version)`` for the standard library, ``("", "")`` for a file that no distribution owns.
    """
    roots = [os.path.abspath(entry) for entry in sys.path if entry]
    inside = [root for root in roots if file.startswith(root + os.sep)]
    standard = sysconfig.get_paths()["stdlib"]
    if inside:
        root = max(inside, key=len)
        top = os.path.relpath(file, root).split(os.sep)[0]
        if root == standard or ("site-packages" not in root and root.startswith(standard)):
            return "python", sys.version.split()[0]
        found = _distribution_of(top[:-3] if top.endswith(".py") else top)
        if found:
            return found
    if file.startswith(standard + os.sep) and "site-packages" not in file:
        return "python", sys.version.split()[0]
    return "", ""


@functools.cache
def _distribution_of(top: str) -> tuple[str, str] | None:
    """The distribution that ships a top-level package."""
    try:
        named = stack.read(importlib.metadata.distribution(top))
    except (importlib.metadata.PackageNotFoundError, ValueError):
        named = {}
    for package in [named] if named else map(stack.read, _shipping(top)):
        if package:
            return package["name"], package["version"]
    return None


def warm_up() -> None:
    """Look up the packages of the stack once, for all probes."""
    for name in catalog.STACK:
        _distribution_of(name)


def look_first_in(folders: list[str]) -> None:
    """Add folders of packages ahead of the others, and forget which distribution owned which file before."""
    sys.path[:0] = folders
    owner.cache_clear()
    _distribution_of.cache_clear()


def _shipping(top: str) -> Iterator[importlib.metadata.Distribution]:
    for distribution in importlib.metadata.distributions():
        tops = stack.text_of(distribution, "top_level.txt").split()
        record = "" if tops else stack.text_of(distribution, "RECORD")
        if top in tops or f"\n{top}/" in f"\n{record}" or f"\n{top}.py," in f"\n{record}":
            yield distribution
