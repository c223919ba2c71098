"""Makes text out of packages and tracebacks safe to show: it may hold anything, terminal commands included."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any, TypeVar, cast

import msgspec

T = TypeVar("T")

_CUT = "..."
LONGEST_LINE = 400
"""Characters of an error or a source line that are shown; a whole tensor in a message helps nobody."""


def is_safe(char: str) -> bool:
    """Whether a terminal shows the character as it is, without acting on it or hiding it.

    Controls, bidi overrides, zero-width characters, line separators and lone surrogates are all unprintable; so are
    wide and no-break spaces, which do no harm.
    """
    return char.isprintable() or char in "\n\t" or unicodedata.category(char) == "Zs"


def plain(text: str, ascii_only: bool = False) -> str:
    r"""Replaces characters that a terminal would act on by visible escapes such as ``\x1b``.

    Args:
        text: Any text.
        ascii_only: Escape everything beyond ASCII too.

    Returns:
        The text with no control character but newline and tab.
    """
    if text.isprintable() and (text.isascii() or not ascii_only):
        return text  # as nearly all text is
    return "".join(
        char if is_safe(char) and (char.isascii() or not ascii_only) else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def in_json(text: str) -> str:
    """JSON in which no character acts on the terminal that it is shown on: it lets C1 controls and bidi overrides stand."""
    if text.isascii():
        return text
    return "".join(char if is_safe(char) else json.dumps(char)[1:-1] for char in text)


def one_line(text: str, limit: int = LONGEST_LINE) -> str:
    """Puts text on one line: safe, white space collapsed, cut with ``...`` where it is longer than ``limit``."""
    line = plain(" ".join(text.split()))
    if len(line) <= limit:
        return line
    return line[: max(0, limit - len(_CUT))].rstrip() + _CUT[:limit]


def escaped(value: T, ascii_only: bool = False) -> T:
    """Copies a structure with every string in it made ``plain``, so that no place that prints one can forget to."""
    if _is_plain(value):
        return value
    return cast("T", _escaped(value, ascii_only))


def _is_plain(value: Any) -> bool:
    """Whether there is nothing in it but ASCII that is shown as it is: in a large map, looking is quicker than copying."""
    try:
        rest = re.sub(rb'\\["\\nt]', b"", msgspec.json.encode(value))
    except UnicodeEncodeError:  # lone surrogates
        return False
    return rest.isascii() and b"\\" not in rest and b"\x7f" not in rest


def _escaped(value: Any, ascii_only: bool) -> Any:
    if isinstance(value, str):
        return plain(value, ascii_only)
    if isinstance(value, (list, tuple)):
        return type(value)(_escaped(item, ascii_only) for item in value)
    if isinstance(value, dict):
        return {_escaped(key, ascii_only): _escaped(item, ascii_only) for key, item in value.items()}
    if isinstance(value, msgspec.Struct):
        fields = {name: _escaped(getattr(value, name), ascii_only) for name in value.__struct_fields__}
        return msgspec.structs.replace(value, **fields)
    return value
