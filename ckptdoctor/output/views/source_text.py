"""Pieces of source for a terminal: numbered lines, carets under what is meant, and what happens there.

Nothing is told by colour or by drawn boxes alone: a place is a line of text, a mark has its label.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ckptdoctor.output.layout import Layout, cells
from ckptdoctor.output.views.excerpts import Excerpt, Line

_CUT = "..."
_LEAST = 20
"""Columns of code that are shown in the narrowest terminal."""
_ROOM = 20
"""Columns that a label needs beside its mark; with fewer it goes below."""


def lines(excerpts: Sequence[Excerpt], layout: Layout, fg: str) -> list[str]:
    """All places of a finding, one after the other.

    Args:
        excerpts: The places, the one to blame first.
        layout: How to lay out.
        fg: The colour of the mark under the line to blame.
    """
    numbers = [line.number for one in excerpts for line in _shown(one)]
    gutter = max((len(str(number)) for number in numbers), default=1) + 2
    return [line for one in excerpts for line in _excerpt(one, gutter, layout, fg)]


def _excerpt(one: Excerpt, gutter: int, layout: Layout, fg: str) -> Iterator[str]:
    shown, place = _shown(one), f"{one.file}:{one.line}"
    where = f"{one.owner}, {place}" if one.owner else place
    label = where if shown else f"{where}: {one.label}"
    for text in layout.wrap(label, f"{' ' * (gutter - 2)}--> ", " " * (gutter + 2), "cyan"):
        yield layout.link(text, place, one.path)
    before = 0
    for line in shown:
        if before and line.number > before + 1:
            yield layout.paint(f"{' ' * (gutter - 2)}{_CUT}", fg="cyan")
        before = line.number
        yield from _line(line, one, gutter, layout, fg)


def _shown(one: Excerpt) -> list[Line]:
    """The line that the place names and the first one that is marked: more would hide where the eye should go."""
    meant = one.around(0)
    marked = next((line.number for line in meant if line.is_marked), one.line)
    return [line for line in meant if line.number in (one.line, marked) and line.text.strip()]


def _line(line: Line, one: Excerpt, gutter: int, layout: Layout, fg: str) -> Iterator[str]:
    width = max(layout.style.width - gutter - 3, _LEAST)
    text, start, end = _fitted(line, width, len(one.label) + 1 if line.is_marked else 0)
    number = layout.paint(f"{line.number:>{gutter}} |", fg="cyan")
    yield f"{number} {text}"
    if not line.is_marked:
        return
    is_culprit = one.part == "culprit"
    more = f" (to line {one.end_line})" if one.end_line > line.number else ""
    marks = ("^" if is_culprit else "-") * max(cells(text[start:end]), 1)
    bar, color = layout.paint(f"{' ' * gutter} |", fg="cyan"), fg if is_culprit else "cyan"
    for under in _under(" " * cells(text[:start]), marks, f"{one.label}{more}", layout.style.width - gutter - 3):
        yield f"{bar} {layout.paint(under, fg=color, bold=is_culprit or None)}"


def _under(margin: str, marks: str, label: str, width: int) -> Iterable[str]:
    """The marks with their label beside them, or below where it has no room."""
    if len(margin) + len(marks) + 1 + len(label) <= width:
        return [f"{margin}{marks} {label}"]
    import textwrap

    margin_below = margin if width - len(margin) >= _ROOM else ""
    wrapped = textwrap.wrap(label, max(width - len(margin_below), _ROOM), break_long_words=False)
    return [f"{margin}{marks}", *(f"{margin_below}{line}" for line in wrapped)]


def _fitted(line: Line, width: int, label: int) -> tuple[str, int, int]:
    """A line cut to a width around what is marked, and where the mark comes to stand.

    Args:
        line: The line.
        width: Columns that there are.
        label: Columns of the label, which stands behind the mark if that is possible.
    """
    text, start = line.text.rstrip(), line.start
    end = max(min(line.end, len(text)), start)
    if cells(text) <= width:
        return text, start, end
    first = 0
    room = width - len(_CUT) - max(label, len(_CUT))
    while first < start and cells(text[first:end]) > (room if first else room + len(_CUT)):
        first += 1
    head = _CUT if first else ""
    last = len(text)
    while last > first and cells(text[first:last]) > width - len(head) - (len(_CUT) if last < len(text) else 0):
        last -= 1
    tail = _CUT if last < len(text) else ""
    shift = len(head) - first
    return f"{head}{text[first:last]}{tail}", start + shift, max(min(end, last) + shift, start + shift)
