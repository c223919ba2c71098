"""The map for people at a terminal: what it amounts to first, then the tables, then each fault and where it holds."""

from __future__ import annotations

from dataclasses import replace

from ckptdoctor.model.compatibility import Map
from ckptdoctor.output import Style
from ckptdoctor.output.layout import COLORS, SEVERITIES, Layout, page
from ckptdoctor.output.views import digest
from ckptdoctor.output.views.digest import KnownFault, Reason, Where
from ckptdoctor.output.views.ranges import span
from ckptdoctor.output.views.source_names import named
from ckptdoctor.output.views.table import Joined, Row, Sheet, sheets
from ckptdoctor.rules import label_of
from ckptdoctor.words.escape import escaped, one_line
from ckptdoctor.words.wording import located

_BLANK = "."
_LINES_SHOWN = 3
"""Lines of code that are shown of a fault; more of them differ in releases only."""


def render(found: Map, style: Style) -> str:
    """Prints a map for a person to read."""
    # Escaped as a whole, here and once: nothing below can act on the terminal.
    found = named(escaped(found, ascii_only=not style.unicode))
    layout = Layout(style)
    return page(
        [
            _head(found, layout),
            *(_sheet(sheet, layout) for sheet in sheets(found)),
            _legend(found, layout),
            *(_fault(fault, layout) for fault in digest.faults(found)),
            _reasons(digest.reasons(found), layout),
            _audit(found, layout),
            layout.notes(digest.notes(found)),
        ]
    )


def _head(found: Map, layout: Layout) -> list[str]:
    fixed = digest.everywhere(found)
    return [
        *layout.wrap(digest.measured_with(found), rest="  "),
        *layout.wrap(digest.asked(found), rest="  "),
        *(layout.wrap(fixed, "in all combinations ", "  ") if fixed else []),
        "",
        *layout.sentence(digest.headline(found), bold=True),
    ]


# -- tables -----------------------------------------------------------------------------------------------------------


def _sheet(sheet: Sheet, layout: Layout) -> list[str]:
    title = layout.wrap(sheet.title, "model ", "  ") if sheet.title else []
    rows = [(one_line(row.label), [_cell(cell, layout) for cell in row.cells]) for row in sheet.rows]
    # Both corners name the package: releases of it are the columns, and each row says which packages it is of.
    names = (one_line(sheet.package),) * 2
    return title + (layout.grid(names, list(map(one_line, sheet.headers)), rows) or _list(sheet, layout))


def _cell(cell: Joined | None, layout: Layout) -> str:
    if cell is None:
        return _BLANK
    return f"{layout.paint(_verdict(cell), fg=COLORS[cell.verdict])} {cell.measured}/{len(cell.cells)}"


def _verdict(cell: Joined) -> str:
    rules = ",".join(cell.rules) if cell.verdict == "fail" else ""
    warned = f"warns:{','.join(cell.warnings)}" if cell.warnings and cell.verdict == "ok" else ""
    return one_line(" ".join(filter(None, [cell.word, rules, warned])))


def _list(sheet: Sheet, layout: Layout) -> list[str]:
    lines: list[str] = []
    for row in sheet.rows:
        lines += layout.wrap(row.label or sheet.package, "- ", "  ")
        for releases, cell in _across(sheet, row):
            color = COLORS[cell.verdict] if cell else None
            text = f"{_verdict(cell)} {cell.measured}/{len(cell.cells)}" if cell else _BLANK
            lines += layout.wrap(text, f"    {span(releases)}: " if sheet.package else "    ", "      ", fg=color)
    return lines


def _across(sheet: Sheet, row: Row) -> list[tuple[tuple[str, ...], Joined | None]]:
    """A row's cells, joined further: columns that differ in other rows only need not be told apart."""
    result: list[tuple[tuple[str, ...], Joined | None]] = []
    for releases, cell in zip(sheet.columns, row.cells, strict=True):
        last = result[-1] if result else ((), None)
        if cell and last[1] and cell.verdict != "error" and _verdict(cell) == _verdict(last[1]):
            result[-1] = (last[0] + releases, replace(cell, cells=last[1].cells + cell.cells))
        else:
            result.append((releases, cell))
    return result


def _legend(found: Map, layout: Layout) -> list[str]:
    if not found.cells:
        return []
    entries = {
        "2/11 ": "2 of 11 combinations were measured, the others inferred",
        "measured: ": digest.MEASURED,
        "inferred: ": digest.INFERRED,
        "? ": "cannot be diagnosed",
        **({"not judged ": "needs a GPU, and was run without one"} if digest.has_unjudged(found) else {}),
        f"{_BLANK} ": "not in this map",
    }
    return [line for mark, text in entries.items() for line in layout.wrap(text, f"  {mark}", "    ")]


# -- faults and reasons -----------------------------------------------------------------------------------------------


def _fault(known: KnownFault, layout: Layout) -> list[str]:
    fault = known.fault
    first = next(iter(known.read_at), None)
    return [
        *layout.wrap(known.title, f"{fault.rule}  {fault.severity}  ", "  ", fg=SEVERITIES[fault.severity]),
        *(layout.field("what", one_line(known.error)) if known.error else []),
        *layout.fields(label_of(fault.rule, fault.culprit), _some([located(one) for one in known.read_at])),
        *(layout.code(first.code) if first else []),
        *layout.fields("passed by", _some([located(one) for one in known.passed_at])),
        *layout.fields("callable", _some(known.callables)),
        *layout.field("functions", ", ".join(fault.functions)),
        *_where(known.where, layout),
    ]


def _some(texts: list[str]) -> list[str]:
    shown = texts[:_LINES_SHOWN]
    return [*shown, *([f"and {len(texts) - len(shown)} more"] if len(texts) > len(shown) else [])]


def _where(places: list[Where], layout: Layout) -> list[str]:
    return layout.fields("in", [f"{one.label}: {digest.share(one.measured, one.total)}" for one in places])


def _reasons(reasons: list[Reason], layout: Layout) -> list[str]:
    lines = [layout.paint("cannot be diagnosed", fg="yellow", bold=True)] if reasons else []
    for reason in reasons:
        lines += [*layout.wrap(one_line(reason.why), "- ", "  "), *_where(reason.where, layout)]
    return lines


def _audit(found: Map, layout: Layout) -> list[str]:
    text = digest.audit(found)
    if not text or found.audit is None:
        return []
    color = "red" if found.audit.disagreements else None
    wrong = [line for one in found.audit.disagreements for line in layout.wrap(one, "  - ", "    ", fg=color)]
    return [*layout.sentence(text, fg=color, bold=bool(color)), *wrong]
