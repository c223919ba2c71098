"""Output formats: each takes a finished value and returns text; none prints.

A folder in here holds the formats of one type and is called like the type: ``report/`` those of ``Report``. Every module in it
is a format of that name, with a function ``render(value, style)``. A format is imported when it is first used, so that asking
for JSON does not load what tables need.
"""

from __future__ import annotations

import pkgutil
from dataclasses import dataclass
from importlib import import_module
from typing import Any

USUAL = "text"
"""The format for people at a terminal, which every type has."""


@dataclass(frozen=True)
class Style:
    """What the place that the text goes to can show.

    Attributes:
        color: Whether ANSI colours may be used.
        width: Columns of the terminal.
        verbose: Whether to show every probe, each diff, tracebacks and the output of failed probes.
        unicode: Whether anything beyond ASCII may be written.
        probes: Whether to say what was run.
        remedies: Whether to show all of each remedy: its diff, its commands, what it costs and how it is known.
        links: Whether the terminal opens links to files (OSC 8).
    """

    color: bool
    width: int
    verbose: bool
    unicode: bool
    probes: bool = True
    remedies: bool = False
    links: bool = False


def formats(subject: str) -> tuple[str, ...]:
    """The names of a type's formats, the usual one first.

    Args:
        subject: A folder in here, such as ``report``.
    """
    folder = import_module(f"{__name__}.{subject}")
    names = sorted(module.name for module in pkgutil.iter_modules(folder.__path__))
    return (USUAL, *(name for name in names if name != USUAL))


def render(format: str, value: Any, style: Style) -> str:  # noqa: A002 - named like the option
    """Prints a value into a string.

    Args:
        format: One of ``formats`` for the value's type.
        value: A report, a map, a bisection, an explanation, an environment or what the cache holds.
        style: What can be shown; formats for machines ignore it.

    Returns:
        The text, ending in a newline.
    """
    subject = type(value).__name__.lower()
    text: str = import_module(f"{__name__}.{subject}.{format}").render(value, style)
    return text
