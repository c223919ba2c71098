"""Which line asks torch not to restore random states in recomputation."""

from __future__ import annotations

import ast
import functools
import os
import sys
from collections.abc import Iterator
from typing import Any

from .. import places

KEYWORD = "preserve_rng_state"

_LARGEST = 2_000_000
"""Bytes of a file that is read."""


@functools.cache
def dropped_at() -> dict[str, Any] | None:
    """The line of an imported module that passes ``preserve_rng_state=False``; nothing unless it is just one."""
    found = [(file, line) for file in _files() for line in _lines(file)]
    return places.at(*found[0]) if len(found) == 1 else None


def _files() -> list[str]:
    """The source files of what is imported, but torch's and Python's own."""
    torch = os.path.dirname(os.path.abspath(sys.modules["torch"].__file__ or "")) + os.sep
    own = os.path.dirname(os.path.abspath(os.__file__)) + os.sep
    named = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    files = {os.path.abspath(one) for one in named if isinstance(one, str) and one.endswith(".py")}
    return sorted(one for one in files if not one.startswith((torch, places.HERE)) and _is_of_packages(one, own))


def _is_of_packages(file: str, own: str) -> bool:
    return not file.startswith(own) or "site-packages" in file or "dist-packages" in file


def _lines(file: str) -> Iterator[int]:
    try:
        if os.path.getsize(file) > _LARGEST:
            return
        with open(file, "rb") as handle:
            text = handle.read()
        tree = ast.parse(text) if KEYWORD.encode() in text else None
    except (OSError, SyntaxError, ValueError):
        return
    for node in ast.walk(tree) if tree is not None else ():
        if isinstance(node, ast.Call):
            given = {one.arg: one.value for one in node.keywords}
            value = given.get(KEYWORD)
            if isinstance(value, ast.Constant) and value.value is False:
                yield node.lineno
