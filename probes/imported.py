"""Modules that were imported since a moment, found without touching the others: a forked process pays for each page."""

from __future__ import annotations

import functools
import itertools
import operator
import sys


def newest() -> str:
    """The module that was imported last."""
    return next(reversed(sys.modules))


def since(newest: str) -> list[str]:
    """The names of the modules that came after one, oldest first; all names if that one is gone."""
    # `sys.modules` keeps the order, and nothing here runs Python code meanwhile: another thread may import.
    return list(itertools.takewhile(functools.partial(operator.ne, newest), reversed(sys.modules)))[::-1]
