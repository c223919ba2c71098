"""Joins lines that were wrapped."""

from __future__ import annotations

import re

from ckptdoctor.explain.lines import HEADER, LONGEST, Line

_FRAME_BEGINS = re.compile(r'^\s*File "[^"\n]')
_FRAME_WHOLE = re.compile(r'^\s*File "[^"\n]{1,1000}", line \d{1,9}(?:, in \S.*)?$')
_BEGINS = re.compile(
    rf'^\s*(?:File "|{re.escape(HEADER)}|[~^]+\s*$|[\w.]*(?:Error|Exception|Warning)\b|During handling|The above exc|```|$)'
)
_MOST_PIECES = 5
"""The most lines of a wrapped frame."""


def unwrapped(lines: list[Line], lengths: list[int]) -> list[Line]:
    """Join wrapped lines, if frames in the text are wrapped: an unwrapped frame never takes two lines.

    Args:
        lines: The lines without their prefixes.
        lengths: How long each was before.
    """
    broken = [length for line, length in zip(lines, lengths, strict=True) if _is_broken(line)]
    if not broken:
        return lines
    width = max(broken)
    joined: list[Line] = []
    at = 0
    while at < len(lines):
        line = lines[at]
        whole, pieces = _whole_frame(lines, at) if _is_broken(line) else (line, 1)
        glue = _glue(joined[-1], lengths[at - 1], line, width) if pieces == 1 and joined else None
        if glue is None:
            joined.append(whole)
        else:
            joined[-1] = joined[-1]._replace(text=f"{joined[-1].text}{glue}{line.text.lstrip()}"[:LONGEST])
        at += pieces
    return joined


def _is_broken(line: Line) -> bool:
    return not line.in_box and bool(_FRAME_BEGINS.match(line.text)) and not _FRAME_WHOLE.match(line.text)


def _whole_frame(lines: list[Line], at: int) -> tuple[Line, int]:
    """The frame that begins in a line, and its number of lines."""
    text = lines[at].text
    for pieces, line in enumerate(lines[at + 1 : at + _MOST_PIECES], 2):
        if not _may_go_on(lines[at], line):
            break
        piece = line.text.strip()
        text = next(
            (each for each in (f"{text}{piece}", f"{text} {piece}") if _FRAME_WHOLE.match(each)), f"{text}{piece}"
        )
        if _FRAME_WHOLE.match(text):
            return lines[at]._replace(text=text), pieces
    return lines[at], 1


def _may_go_on(before: Line, line: Line) -> bool:
    """Whether a line may continue the one before; the label of a wrapped line is not repeated."""
    return line.label in ("", before.label) and not line.is_edge and not before.is_edge and not _BEGINS.match(line.text)


def _glue(before: Line, length: int, line: Line, width: int) -> str | None:
    """The text to join a line to the one before with; nothing if the line is not a continuation."""
    indent = len(line.text) - len(line.text.lstrip())
    if not before.text.strip() or not _may_go_on(before, line) or indent > 1:
        return None
    if length == width:
        return ""
    first = line.text.split(maxsplit=1)[0]
    return " " if length < width and length + 1 + len(first) > width else None
