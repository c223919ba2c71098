"""Markdown for the site, which Python-Markdown reads: it knows other escapes than GitHub."""

from __future__ import annotations

import re

from ckptdoctor.output.markup import backticked as code
from ckptdoctor.output.markup import entities, fenced
from ckptdoctor.words.escape import one_line

__all__ = ["code", "fenced", "plain", "prose", "slug"]

_SPAN = re.compile(r"`([^`]+)`")
_LONGEST = 4000


def prose(text: str) -> str:
    """A sentence in which nothing is markup but code between backticks."""
    parts = _SPAN.split(one_line(text, _LONGEST))
    return "".join(code(part) if at % 2 else plain(part) for at, part in enumerate(parts))


def plain(text: str) -> str:
    """Text as it is: nothing in it is markup, backticks are shown."""
    return re.sub(r"([\\`*_{}\[\]])", r"\\\1", entities(text))


def slug(text: str) -> str:
    """The name of a page: the words of a text, of which as many as a web address holds well."""
    words = re.findall(r"[a-z0-9]+", text.lower())
    kept: list[str] = []
    for word in words:
        if len("-".join([*kept, word])) > 80:
            break
        kept.append(word)
    return "-".join(kept)
