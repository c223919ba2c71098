"""The places of a finding as pieces of real source: numbered lines, the range that is meant, and what happens there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from ckptdoctor.model.evidence import Place, Region, Source
from ckptdoctor.model.report import Finding
from ckptdoctor.rules import marks_of, reads_callable
from ckptdoctor.words.escape import one_line, plain
from ckptdoctor.words.wording import briefly, relative

TAB = 4
"""Columns between tab stops."""

_DEFINITION = re.compile(r"\s*(?:async\s+)?(?:def|class)\s+(\w+)")


@dataclass(frozen=True)
class Line:
    """A line of source, safe to show.

    Attributes:
        number: Its number in the file.
        text: The line, with spaces in the place of tabs.
        start: The first character of ``text`` that is marked.
        end: The character behind the last one that is marked; ``start`` where none is.
    """

    number: int
    text: str
    start: int = 0
    end: int = 0

    @property
    def is_marked(self) -> bool:
        """Whether a part of it is meant."""
        return self.end > self.start


@dataclass(frozen=True)
class Excerpt:
    """A place of a finding.

    Attributes:
        part: What the place is to the finding.
        label: What happens there: ``read here``.
        owner: Package and version; empty where no package owns the file.
        file: Relative to the folder of packages.
        path: The file as it is, to open it.
        line: The line that the place names.
        function: The function that it is in.
        lines: What was kept of the source; the code of the line alone where that is all.
        end_line: The line in which the range ends, which may be below those that were kept; 0 where none is known.
    """

    part: Literal["culprit", "built", "passed"]
    label: str
    owner: str
    file: str
    path: str
    line: int
    function: str
    lines: tuple[Line, ...]
    end_line: int = 0

    def around(self, count: int) -> list[Line]:
        """The lines that are meant, and some before and after them, without the indentation that all of them have.

        Args:
            count: How many before and after.
        """
        meant = [one.number for one in self.lines if one.is_marked or one.number == self.line]
        shown = [one for one in self.lines if meant and meant[0] - count <= one.number <= meant[-1] + count]
        while shown and not (shown[0].text.strip() or shown[0].number in meant):
            shown = shown[1:]
        while shown and not (shown[-1].text.strip() or shown[-1].number in meant):
            shown = shown[:-1]
        margin = min((len(one.text) - len(one.text.lstrip()) for one in shown if one.text.strip()), default=0)
        return [
            replace(one, text=one.text[margin:], start=max(one.start - margin, 0), end=max(one.end - margin, 0))
            for one in shown
        ]


def of(finding: Finding, ascii_only: bool = False) -> list[Excerpt]:
    """The places of a finding, the one to blame first, each once.

    Args:
        finding: As it came: ranges count the characters of lines that are not escaped yet.
        ascii_only: Whether to escape everything beyond ASCII too.
    """
    here, passed = marks_of(finding.rule, finding.culprit)
    if here == "here" and finding.error and finding.culprit and any(map(finding.culprit.is_at, finding.error.frames)):
        here = "fails here"
    made_of = one_line(briefly(finding.callable.text)) if finding.callable else ""
    # A rule that reads the callable says what it is.
    is_known = not made_of or reads_callable(finding.rule)
    found: list[Excerpt] = []
    if finding.culprit:
        found.append(_excerpt("culprit", here, finding.culprit, ascii_only))
    if finding.passed_by and not (finding.culprit and finding.culprit.is_at(finding.passed_by)):
        is_same = finding.built is not None and _region(finding.built) == _region(finding.passed_by)
        if finding.built is not None and not is_same:
            found.append(_excerpt("built", "built here", finding.built, ascii_only))
        label = passed if is_known else f"{passed}: {plain(made_of, ascii_only)}"
        found.append(_excerpt("passed", label, finding.passed_by, ascii_only))
    return found


def _region(place: Place) -> Region | None:
    return place.source.region if isinstance(place.source, Source) else None


def _excerpt(part: Literal["culprit", "built", "passed"], label: str, place: Place, ascii_only: bool) -> Excerpt:
    def shown(text: str) -> str:
        return plain(one_line(text), ascii_only)

    return Excerpt(
        part=part,
        label=label,
        owner=shown(f"{place.package} {place.version}"),
        file=shown(relative(place.file)),
        path=place.file,
        line=place.line,
        function=shown(place.function),
        lines=tuple(_lines(place, ascii_only)),
        end_line=region.end_line if (region := _region(place)) else 0,
    )


def _lines(place: Place, ascii_only: bool) -> Iterator[Line]:
    source = place.source
    if not isinstance(source, Source):
        if place.code:
            yield _line(place.line, place.code, *_of_code(place.code), ascii_only)
        return
    for number, text in enumerate(source.lines, source.first):
        start, end = _marked(number, text, source.region) if source.region else (0, 0)
        if source.region is None and number == place.line:
            start, end = _of_code(text)
        yield _line(number, text, start, end, ascii_only)


def _of_code(text: str) -> tuple[int, int]:
    """What is meant by a line of which no more is known: the name that it defines, or all of it."""
    found = _DEFINITION.match(text)
    return found.span(1) if found else (len(text) - len(text.lstrip()), len(text.rstrip()))


def _marked(number: int, text: str, region: Region) -> tuple[int, int]:
    """The characters of a line that are in a region, its indentation left out."""
    if not region.line <= number <= region.end_line:
        return 0, 0
    start = region.column - 1 if number == region.line else len(text) - len(text.lstrip())
    end = region.end_column - 1 if number == region.end_line else len(text.rstrip())
    return min(start, len(text)), min(max(start, end), len(text))


def _line(number: int, text: str, start: int, end: int, ascii_only: bool) -> Line:
    """A line made safe, with the range where its characters come to stand."""
    shown, columns = "", []
    for char in text:
        columns.append(len(shown))
        # A line break inside of a line is one that only Python's reader does not take for one.
        shown += " " * (TAB - len(shown) % TAB) if char == "\t" else plain(char, ascii_only).replace("\n", r"\n")
    columns.append(len(shown))
    return Line(number, shown, columns[start], columns[end])
