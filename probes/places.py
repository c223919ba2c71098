"""Frames and files, and which installed distribution owns them."""

from __future__ import annotations

import functools
import importlib.metadata
import linecache
import os
import sys
import sysconfig
from collections.abc import Iterator
from types import CodeType, FrameType
from typing import Any

from . import catalog, stack

HERE = os.path.dirname(os.path.abspath(__file__))
"""This package's folder: its frames are left out of what is reported."""

Place = dict[str, Any]


def is_ours(filename: str) -> bool:
    """Whether a file belongs to the probes."""
    return os.path.abspath(filename).startswith(HERE + os.sep)


def of_frame(frame: FrameType, line: int | None = None) -> Place:
    """The place where a frame stands; ``line`` where it differs from the frame's current one."""
    return at(frame.f_code.co_filename, frame.f_lineno if line is None else line, _name(frame.f_code))


def of_code(code: CodeType) -> Place:
    """The place where a function's code begins."""
    return at(code.co_filename, code.co_firstlineno, _name(code))


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
