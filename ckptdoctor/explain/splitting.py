"""Restores the lines of a log as Python wrote them.

Notations are decoded first, then prefixes are removed, then wrapped lines are joined.
"""

from __future__ import annotations

import re

from ckptdoctor.explain import notation, prefixes, wraps
from ckptdoctor.explain.lines import Line, Raw
from ckptdoctor.explain.prefixes import Prefixes

_BOX_EDGE = re.compile(r"^[\s]*[╭╰┌└+][─━\-+ \d.]{3,}")
_GROUP_EDGE = re.compile(r"^\s*\+(?:-\+)?-{5,}")
_FENCE = re.compile(r"^\s*(?:```|~~~)")


def split(text: str) -> list[Line]:
    """The lines of a log as Python wrote them, as well as possible; of very many, the first and the last."""
    raw = notation.read(text)
    known = prefixes.learn(raw)
    return wraps.unwrapped([_line(one, known) for one in raw], [len(one.text) for one in raw])


def _line(raw: Raw, known: Prefixes) -> Line:
    text, labels = prefixes.unlabelled(raw.text, known)
    taken_off = raw.text[: len(raw.text) - len(text)]
    in_box = "│" in raw.text or "┃" in raw.text
    is_full = False
    if in_box or ("|" in taken_off and text.endswith("|")):
        inner = text.rstrip().removesuffix("│").removesuffix("┃").removesuffix("|")
        is_full = inner != text.rstrip() and inner.endswith(" ") and not inner.endswith("  ")
        text, in_box = inner, True
    is_edge = bool(_BOX_EDGE.match(text) or _GROUP_EDGE.match(text) or _FENCE.match(text))
    label = " ".join([*([raw.label] if raw.label else []), *labels])
    return Line(raw.number, label, text.rstrip(), is_edge, in_box, is_full)
