"""What a bisection found, for people and for machines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from ckptdoctor.model.compatibility import BISECTION, Bisection, Line, Run
from ckptdoctor.model.evidence import Place
from ckptdoctor.output import Style
from ckptdoctor.output.json import indented
from ckptdoctor.output.schema import of
from ckptdoctor.words.escape import escaped, one_line
from ckptdoctor.words.wording import blames, located

_WORDS = {"ok": "works", "fail": "fails", "not judged": "was not judged", "error": "cannot be diagnosed"}
_COLORS = {"ok": "green", "fail": "red", "not judged": "yellow", "error": "yellow"}
_LONGEST = 300


def render(format: str, found: Bisection, style: Style) -> str:  # noqa: A002 - named like the option
    """Prints a bisection into a string.

    Args:
        format: ``text`` or ``json``.
        found: What was found.
        style: What can be shown.
    """
    if format == "json":
        return indented(found)
    return "\n".join(_text(escaped(found, ascii_only=not style.unicode), style)) + "\n"


def _text(found: Bisection, style: Style) -> Iterator[str]:
    stack = "".join(f", {name} {release}" for name, release in found.stack.items())
    yield f"{found.axis} {found.releases[0]} to {found.releases[-1]} ({len(found.releases)} releases){stack}"
    if not found.lines:
        verdicts = sorted({_WORDS[verdict] for verdict in found.verdicts.values()})
        yield f"There is no line: every release {' or '.join(verdicts)}."
    for line in found.lines:
        yield ""
        yield from _line(found.axis, line, style)
    yield ""
    before = f", {found.from_before} of them known from earlier runs" if found.from_before else ""
    inferred = len(found.verdicts) - len(found.measured)
    others = f"; {inferred} inferred from those with the same code" if inferred else ""
    yield f"{found.runs} of {len(found.releases)} releases measured{before}{others}."
    yield from found.notes
    yield f"Python {found.python}, torch {found.torch}, {found.platform}, {found.date}."


def _line(axis: str, line: Line, style: Style) -> Iterator[str]:
    first = "first that works" if line.fixes else "first that fails"
    head = f"{axis} {line.after} is the {first}"
    yield click.style(head, bold=True) if style.color else head
    for release, run in ((line.before, line.run_before), (line.after, line.run_after)):
        yield from _side(f"{axis} {release}", run, style)
    if line.between:
        yield f"  between them, not to be diagnosed: {', '.join(line.between)}"


def _side(name: str, run: Run, style: Style) -> Iterator[str]:
    word = _WORDS[run.verdict]
    yield f"  {name} {click.style(word, fg=_COLORS[run.verdict]) if style.color else word}  ({run.model}, {run.date})"
    conventions = sorted({one.convention for one in run.functions if one.convention not in ("", "model")})
    if conventions:
        yield f"    passed as  {', '.join(conventions)}"
    for fault in run.faults:
        yield f"    {fault.rule}  {one_line(fault.error or fault.title, _LONGEST)}"
        yield from _places((blames(fault.rule, fault.culprit), fault.culprit), ("passed by", fault.passed_by))


def _places(*places: tuple[str, Place | None]) -> Iterator[str]:
    for label, place in places:
        if place is not None:
            code = f"  {one_line(place.code, 100)}" if place.code else ""
            yield f"      {label}  {located(place)}{code}"


def schema() -> dict[str, Any]:
    """The JSON Schema of a bisection, made from its types."""
    return of(Bisection, BISECTION, "A ckptdoctor bisection")


def schema_text() -> str:
    """The schema as it is shipped in ``bisection.schema.json``."""
    return indented(schema())
