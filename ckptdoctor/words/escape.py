"""Makes text from packages and tracebacks safe to show: such text may contain terminal commands."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any, TypeVar

import msgspec

from ckptdoctor.words.strings import mapped

T = TypeVar("T")

_CUT = "..."
LONGEST_LINE = 400
"""Characters of an error or a source line that are shown: a message may contain a whole tensor."""


def is_safe(char: str) -> bool:
    """Whether a terminal shows the character, and does not act on it or hide it.

    Controls, bidi overrides, zero-width characters, line separators and lone surrogates are unprintable. So are
    wide and no-break spaces, but they are harmless.
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
        return text  # nearly always
    return "".join(
        char if is_safe(char) and (char.isascii() or not ascii_only) else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def in_json(text: str) -> str:
    """Escapes C1 controls and bidi overrides in JSON, so that a terminal does not act on them."""
    if text.isascii():
        return text
    return "".join(char if is_safe(char) else json.dumps(char)[1:-1] for char in text)


def one_line(text: str, limit: int = LONGEST_LINE) -> str:
    """Puts text on one line: safe, white space collapsed, cut with ``...`` if longer than ``limit``."""
    line = plain(" ".join(text.split()))
    if len(line) <= limit:
        return line
    return line[: max(0, limit - len(_CUT))].rstrip() + _CUT[:limit]


def escaped(value: T, ascii_only: bool = False) -> T:
    """A copy of a structure with every string made ``plain``."""
    if _is_plain(value):
        return value
    return mapped(value, lambda text: plain(text, ascii_only))


def _is_plain(value: Any) -> bool:
    """Whether a structure has only harmless ASCII: for a large map, checking is faster than copying."""
    try:
        rest = re.sub(rb'\\["\\nt]', b"", msgspec.json.encode(value))
    except UnicodeEncodeError:  # lone surrogates
        return False
    return rest.isascii() and b"\\" not in rest and b"\x7f" not in rest
