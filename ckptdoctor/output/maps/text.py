"""The map for people at a terminal: what it amounts to first, then the tables, then each fault and where it holds."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, replace

import click
from tabulate import tabulate

from ckptdoctor.model.compatibility import Map
from ckptdoctor.output import Style
from ckptdoctor.output.maps import digest
from ckptdoctor.output.maps.digest import KnownFault, Reason, Where
from ckptdoctor.output.maps.ranges import span
from ckptdoctor.output.maps.table import Joined, Row, Sheet, sheets
from ckptdoctor.words.escape import escaped, one_line
from ckptdoctor.words.wording import blames, located

_COLORS = {"ok": "green", "fail": "red", "not judged": "yellow", "error": "yellow"}
_SEVERITIES = {"error": "red", "warning": "yellow", "note": "cyan"}
_BLANK = "."
_LONGEST_LINE = 400
"""Characters of an error or source line that are shown."""
_LINES_SHOWN = 3
"""Lines of code that are shown of a fault; more of them differ in releases only."""
_LABEL_COLUMN = 15
_NARROW = 60
"""Below this many columns labels get lines of their own."""


def render(found: Map, style: Style) -> str:
    """Prints a map for a person to read."""
    # Escaped as a whole, here and once, and each string on one line: nothing below can act on the terminal.
    found = escaped(found, ascii_only=not style.unicode)
    pen = _Pen(style)
    sections = [
        _head(found, pen),
        *(_sheet(sheet, pen) for sheet in sheets(found)),
        _legend(found, pen),
        *(_fault(fault, pen) for fault in digest.faults(found)),
        _reasons(digest.reasons(found), pen),
        _audit(found, pen),
        _notes(digest.notes(found), pen),
    ]
    return "\n\n".join("\n".join(lines) for lines in sections if lines) + "\n"


@dataclass(frozen=True)
class _Pen:
    """Lays out lines within a style."""

    style: Style

    def paint(self, text: str, fg: str | None = None, bold: bool | None = None) -> str:
        return click.style(text, fg=fg, bold=bold) if self.style.color else text

    def wrap(self, head: str, text: str, rest: str = "", fg: str | None = None) -> list[str]:
        """Wraps text behind a head that stands out; words, and so paths and versions, are never broken."""
        head = head.replace("\n", " ").replace("\t", " ")
        lines = textwrap.wrap(
            one_line(text, 10 * _LONGEST_LINE),
            self.style.width,
            initial_indent=head,
            subsequent_indent=rest,
            break_long_words=False,
            break_on_hyphens=False,
        ) or [head.rstrip()]
        return [self.paint(lines[0][: len(head)], fg=fg, bold=True) + lines[0][len(head) :], *lines[1:]]

    def field(self, label: str, text: str) -> list[str]:
        """Text behind a label, or under it in a narrow terminal; without a label it goes on where the last one was."""
        if self.style.width >= _NARROW:
            return self.wrap(f"  {label}".ljust(_LABEL_COLUMN), text, " " * _LABEL_COLUMN)
        return [*([self.paint(f"  {label}", bold=True)] if label else []), *self.wrap("    ", text, "      ")]


def _head(found: Map, pen: _Pen) -> list[str]:
    fixed = digest.everywhere(found)
    return [
        *pen.wrap("", digest.measured_with(found), "  "),
        *pen.wrap("", digest.asked(found), "  "),
        *(pen.wrap("everywhere ", fixed, "  ") if fixed else []),
        "",
        *(pen.paint(line, bold=True) for line in pen.wrap("", digest.headline(found), "  ")),
    ]


# -- tables -----------------------------------------------------------------------------------------------------------


def _sheet(sheet: Sheet, pen: _Pen) -> list[str]:
    title = pen.wrap("model ", sheet.title, "  ") if sheet.title else []
    package = one_line(sheet.package, _LONGEST_LINE)
    labels = [one_line(row.label, _LONGEST_LINE) for row in sheet.rows]
    headers = [one_line(header, _LONGEST_LINE) for header in sheet.headers]
    cells = [[_cell(cell, pen) for cell in row.cells] for row in sheet.rows]
    lying = [[label, *row] for label, row in zip(labels, cells, strict=True)]
    standing = [[header, *column] for header, column in zip(headers, zip(*cells, strict=True), strict=True)]
    return title + (
        _table([package, *headers], lying, pen) or _table([package, *labels], standing, pen) or _list(sheet, pen)
    )


def _cell(cell: Joined | None, pen: _Pen) -> str:
    if cell is None:
        return _BLANK
    return f"{pen.paint(_verdict(cell), fg=_COLORS[cell.verdict])} {cell.measured}/{len(cell.cells)}"


def _verdict(cell: Joined) -> str:
    word = {"ok": "ok", "fail": "FAIL", "not judged": "not judged", "error": "?"}[cell.verdict]
    rules = ",".join(cell.rules) if cell.verdict == "fail" else ""
    warned = f"warns:{','.join(cell.warnings)}" if cell.warnings and cell.verdict == "ok" else ""
    return one_line(" ".join(filter(None, [word, rules, warned])), _LONGEST_LINE)


def _table(headers: list[str], rows: list[list[str]], pen: _Pen) -> list[str]:
    """A table, or nothing where it is wider than the terminal."""
    # Headers go in as rows, since tabulate pads real ones; numbers stay text, a version may look like one.
    head = [[pen.paint(header, bold=True) for header in headers], ["-" * len(header) for header in headers]]
    table = tabulate([*head, *rows], tablefmt="plain", disable_numparse=True)
    lines = [f"  {line}".rstrip() for line in table.splitlines()]
    return lines if max(len(click.unstyle(line)) for line in lines) <= pen.style.width else []


def _list(sheet: Sheet, pen: _Pen) -> list[str]:
    lines: list[str] = []
    for row in sheet.rows:
        lines += pen.wrap("- ", row.label or sheet.package, "  ")
        for releases, cell in _across(sheet, row):
            color = _COLORS[cell.verdict] if cell else None
            text = f"{_verdict(cell)} {cell.measured}/{len(cell.cells)}" if cell else _BLANK
            lines += pen.wrap(f"    {span(releases)}: " if sheet.package else "    ", text, "      ", fg=color)
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


def _legend(found: Map, pen: _Pen) -> list[str]:
    if not found.cells:
        return []
    return [
        *pen.wrap("  2/11 ", "2 of 11 combinations were measured, the others inferred", "    "),
        *pen.wrap("  ", digest.MEASURED, "    "),
        *pen.wrap("  ", digest.INFERRED, "    "),
        *pen.wrap("  ? ", "cannot be diagnosed", "    "),
        *(
            pen.wrap("  not judged ", "needs a GPU, and was run without one", "    ")
            if digest.has_unjudged(found)
            else []
        ),
        *pen.wrap(f"  {_BLANK} ", "not in this map", "    "),
    ]


# -- faults and reasons -----------------------------------------------------------------------------------------------


def _fault(known: KnownFault, pen: _Pen) -> list[str]:
    fault = known.fault
    first = next(iter(known.read_at), None)
    return [
        *pen.wrap(f"{fault.rule}  {fault.severity}  ", known.title, "  ", fg=_SEVERITIES[fault.severity]),
        *(pen.field("what", one_line(known.error, _LONGEST_LINE)) if known.error else []),
        # Only this rule is about an attribute that the culprit reads off what it was given.
        *_lines(blames(fault.rule, fault.culprit), list(map(located, known.read_at)), pen),
        *(pen.field("", f"  {one_line(first.code, _LONGEST_LINE)}") if first and first.code else []),
        *_lines("passed by", list(map(located, known.passed_at)), pen),
        *_lines("callable", known.callables, pen),
        *pen.field("functions", ", ".join(fault.functions)),
        *_where(known.where, pen),
    ]


def _lines(label: str, texts: list[str], pen: _Pen) -> list[str]:
    shown = texts[:_LINES_SHOWN]
    more = [f"and {len(texts) - len(shown)} more like it"] if len(texts) > len(shown) else []
    return [line for at, text in enumerate([*shown, *more]) for line in pen.field("" if at else label, text)]


def _where(places: list[Where], pen: _Pen) -> list[str]:
    texts = [f"{place.label}: {digest.share(place.measured, place.total)}" for place in places]
    return [line for at, text in enumerate(texts) for line in pen.field("" if at else "in", text)]


def _reasons(reasons: list[Reason], pen: _Pen) -> list[str]:
    lines = [pen.paint("cannot be diagnosed", fg="yellow", bold=True)] if reasons else []
    for reason in reasons:
        lines += [*pen.wrap("- ", one_line(reason.why, _LONGEST_LINE), "  "), *_where(reason.where, pen)]
    return lines


def _audit(found: Map, pen: _Pen) -> list[str]:
    text = digest.audit(found)
    if not text or found.audit is None:
        return []
    color = "red" if found.audit.disagreements else None
    lines = [pen.paint(line, fg=color, bold=bool(color)) for line in pen.wrap("", text, "  ")]
    return lines + [line for wrong in found.audit.disagreements for line in pen.wrap("  - ", wrong, "    ", fg=color)]


def _notes(notes: list[str], pen: _Pen) -> list[str]:
    lines = [line for note in notes for line in pen.wrap("- ", note, "  ")]
    return [pen.paint("notes", bold=True), *lines] if lines else []
