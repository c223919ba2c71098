"""For people: what is newly broken first, by which line on which side and what fixes it, then the contracts that changed."""

from __future__ import annotations

from collections.abc import Iterator

from ckptdoctor.model.impact import KINDS, Change, ContractChange, Impact
from ckptdoctor.output import Style
from ckptdoctor.output.layout import Layout, page
from ckptdoctor.output.views import changed
from ckptdoctor.words.escape import one_line
from ckptdoctor.words.wording import located

_COLORS = {"broken": "red", "warned": "yellow", "otherwise": "yellow", "working": "green", "cleared": "green"}
_LINES_OF_DIFF = 40
_RELIED = 6
"""Lines of trainers that are shown for each contract."""


def render(found: Impact, style: Style) -> str:
    """Prints an impact for a person to read."""
    found = changed.clean(found, not style.unicode)
    layout = Layout(style)
    shown: dict[str, str] = {}
    changes = [_change(one, layout, shown) for kind in KINDS for one in found.of_kind(kind)]
    return page(
        [_head(found, layout), *changes, _contracts(found, layout), _unknown(found, layout), _foot(found, layout)]
    )


def _head(found: Impact, layout: Layout) -> list[str]:
    texts = [changed.commits(found), changed.verdict(found), changed.code(found), changed.tried(found)]
    lines = layout.sentence(changed.head(found), bold=True)
    return [*lines, *(line for text in texts if text for line in layout.wrap(text, rest="  "))]


def _change(one: Change, layout: Layout, shown: dict[str, str]) -> list[str]:
    head = f"{changed.TITLES[one.kind]}  "
    rules = f" ({', '.join(one.rules)})" if one.rules else ""
    lines = layout.wrap(f"{changed.title(one)}{rules}", head, "  ", fg=_COLORS[one.kind])
    for label, text in (
        ("models", changed.models(one.models)),
        ("what", changed.rules(one)),
        ("pins", changed.pins(one)),
    ):
        lines += layout.field(label, text) if text else []
    for name, text, side in changed.sides(one):
        lines += layout.field(name, text)
        if side.passed_by and not any(fault.passed_by for fault in side.faults):
            lines += layout.field("", f"layers are passed by {located(side.passed_by)}")
        for fault in side.faults:
            lines += layout.field("", one_line(fault.error or fault.title))
            for label, place in changed.lines(fault):
                lines += [*layout.field("", f"{label} {located(place)}"), *layout.code(place.code)]
    again = [*layout.field("again", "to try it on the head:"), layout.command(one.command)] if one.command else []
    return [*lines, *_fixes(one, layout, shown), *again]


def _fixes(one: Change, layout: Layout, known: dict[str, str]) -> Iterator[str]:
    """What fixes it; the same again is not shown twice."""
    before = known.setdefault(repr(one.remedies), changed.title(one)) if one.remedies else ""
    if before and before != changed.title(one):
        yield from layout.field("fixes", f"as for {before}")
        return
    for number, remedy in enumerate(one.remedies, 1):
        yield from layout.field("fixes" if number == 1 else "", f"{number}. [{remedy.label}] {remedy.title}")
        yield from (layout.command(command) for line in remedy.commands for command in line.split("\n"))
        diff = remedy.diff.rstrip("\n").split("\n") if remedy.diff else []
        shown = diff if layout.style.verbose else diff[:_LINES_OF_DIFF]
        yield from (layout.command(line) for line in shown)
        if len(shown) < len(diff):
            yield from layout.field("", f"{len(diff) - len(shown)} more lines: --format markdown shows them")
    if one.unsearched:
        yield from layout.field("fixes", one.unsearched)


def _contracts(found: Impact, layout: Layout) -> list[str]:
    if not found.contracts:
        return []
    return [layout.paint("contracts", bold=True), *(line for one in found.contracts for line in _contract(one, layout))]


def _contract(one: ContractChange, layout: Layout) -> Iterator[str]:
    yield from layout.wrap(f"{changed.contract(one)}. In {changed.models(one.models)}.", "- ", "  ")
    for each in one.relied[:_RELIED]:
        breaks = f": {each.breaks} ({each.certainty})" if each.breaks else ""
        yield from layout.wrap(f"{located(each.place)} {each.title}{breaks}", "    ", "      ")
    if len(one.relied) > _RELIED:
        yield f"    and {len(one.relied) - _RELIED} more lines"


def _unknown(found: Impact, layout: Layout) -> list[str]:
    lines = [line for one in found.not_compared for line in layout.wrap(changed.unknown(one), "- ", "  ")]
    return [layout.paint("not compared", bold=True), *lines] if lines else []


def _foot(found: Impact, layout: Layout) -> list[str]:
    where = f"Python {found.python}, torch {found.torch}, {found.platform}, {found.date}, {found.seconds:g} s."
    return [*layout.notes(found.notes), *layout.wrap(where, rest="  ")]
