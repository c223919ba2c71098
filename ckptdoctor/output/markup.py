"""Markdown for GitHub in which nothing is markup, a mention or a link that is not meant to be."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ckptdoctor.words.escape import LONGEST_LINE, one_line

_LINKED = re.compile(r"[@#]|://|www\.|\bGH-\d|^[0-9a-f]{7,40}$", re.IGNORECASE)
"""Words that GitHub makes a link or a mention of, which would bother whoever is meant."""
_SPAN = re.compile(r"`([^`]+)`")


def prose(text: str) -> str:
    """A sentence in which nothing is markup but code between backticks, and nothing mentions or links anyone."""
    parts = _SPAN.split(one_line(text, 10 * LONGEST_LINE))
    shown = "".join(code(part) if at % 2 else _words(part) for at, part in enumerate(parts))
    # What would begin a heading, a list or a rule where the sentence begins a line.
    return re.sub(r"^(\d+(?=[.)](?: |$)))?([-+=.)])", r"\1\\\2", shown)


def code(text: str) -> str:
    """Text as it is, between backticks; on GitHub nothing in there is markup, a mention or a link."""
    line = one_line(text)
    return backticked(line).replace("|", r"\|") if line else ""  # a pipe ends a table's cell even in code


def backticked(text: str) -> str:
    """Text between as many backticks as it takes; spaces keep backticks at its ends apart from them."""
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    padded = f" {text} " if "`" in (text[:1], text[-1:]) else text
    return f"{fence}{padded}{fence}"


def html(text: str) -> str:
    """Text within HTML in which nothing is markup, and nothing mentions or links anyone."""
    parts = re.split("( +)", one_line(text, 10 * LONGEST_LINE).replace("`", ""))
    return "".join(f"<code>{entities(word)}</code>" if _LINKED.search(word) else entities(word) for word in parts)


def entities(word: str) -> str:
    """A word in which nothing is HTML."""
    return word.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def fenced(text: str, language: str) -> str:
    """Text between fences that are longer than any in it."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    body = text.rstrip("\n")
    return f"{fence}{language}\n{body}\n{fence}"


def folded(summary: str, body: str) -> str:
    """Markup that a click shows, under a line that is HTML already."""
    return f"<details><summary>{summary}</summary>\n\n{body}\n\n</details>"


def table(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are markup already."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (headers, ["---"] * len(headers), *rows))


def bullets(title: str, items: Iterable[str]) -> list[str]:
    """A list of sentences under its title; nothing where there are none."""
    lines = [f"- {prose(item)}" for item in items]
    return [title, "\n".join(lines)] if lines else []


def _words(text: str) -> str:
    return "".join(code(word) if _LINKED.search(word) else _word(word) for word in re.split("( +)", text))


def _word(word: str) -> str:
    return re.sub(r"([\\`*_\[\]|~$])", r"\\\1", entities(word))
