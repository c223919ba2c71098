"""The report for people: the verdict first, then whose fault it is and what helps, and what was run last."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import click
from tabulate import tabulate

from ckptdoctor.model.evidence import Environment, Error
from ckptdoctor.model.report import Finding, ProbeResult, Remedy, Report
from ckptdoctor.output import Style, accepted_text, happened, stale_text
from ckptdoctor.words.escape import escaped, one_line
from ckptdoctor.words.wording import blames, counted, listed, located

_VERDICTS = {
    "ok": ("OK", "green"),
    "fail": ("FAIL", "red"),
    "not judged": ("NOT JUDGED", "yellow"),
    "error": ("CANNOT BE DIAGNOSED", "yellow"),
}
_SEVERITIES = {"error": "red", "warning": "yellow", "note": "cyan"}
_OUTCOMES = {"ok": "green", "triggered": "red", "failed": "red", "crashed": "red", "timeout": "red"}
_OWN_CONVENTIONS = ("", "model")
_LABEL_COLUMN = 15
_NARROW = 60
"""Below this many columns labels get lines of their own."""
_LONGEST_LINE = 400
"""Characters of an error or source line that are shown; a whole tensor in a message helps nobody."""
_PROBES_NAMED = 3
_ERROR_LIMITS = range(90, 22, -4)
"""Widths tried for the table's column of errors; below the last one a list says more than a table."""
_ADVISORY = "*"
_SHARED = " / "
"""Between the outcomes of probes that share a cell."""

_Cells = dict[str, dict[str, list[str]]]
"""What is shown in a grid, by row and column."""


def render(report: Report, style: Style) -> str:
    """Prints a report for a person to read."""
    # Escaped as a whole, here and once: below this line no string of the report can act on the terminal.
    report = escaped(report, ascii_only=not style.unicode)
    pen = _Pen(style)
    sections = [
        _head(report, pen),
        [*_verdict(report, pen), *_gate(report, pen)],
        *(_finding(finding, pen) for finding in report.findings),
        _notes(report.notes, pen),
        _what_ran(report, pen),
        _conventions(report, pen),
        *(_failure(probe, pen) for probe in report.probes if style.verbose),
    ]
    return "\n\n".join("\n".join(lines) for lines in sections if lines) + "\n"


def render_remedies(report: Report, style: Style) -> str:
    """Prints what fixes each finding; the tables of what was run are ``check``'s."""
    report = escaped(report, ascii_only=not style.unicode)
    pen = _Pen(style)
    sections = [
        _head(report, pen),
        _verdict(report, pen),
        *(_finding(finding, pen) for finding in report.findings),
        _notes(report.notes, pen),
    ]
    return "\n\n".join("\n".join(lines) for lines in sections if lines) + "\n"


@dataclass(frozen=True)
class _Pen:
    """Lays out lines within a style."""

    style: Style

    @property
    def dot(self) -> str:
        return "\xa0· " if self.style.unicode else "\xa0| "

    def paint(self, text: str, fg: str | None = None, bold: bool | None = None, dim: bool | None = None) -> str:
        return click.style(text, fg=fg, bold=bold, dim=dim) if self.style.color else text

    def wrap(self, head: str, text: str, rest: str = "") -> list[str]:
        """Wraps text behind a head, later lines behind ``rest``; words, and so paths, are never broken."""
        head = head.replace("\n", " ")
        lines = textwrap.wrap(
            text,
            self.style.width,
            initial_indent=head,
            subsequent_indent=rest,
            break_long_words=False,
            break_on_hyphens=False,
        )
        return [line.replace("\xa0", " ") for line in lines] or [head.rstrip()]

    def block(self, head: str, text: str, rest: str = "", fg: str | None = None) -> list[str]:
        """Wraps text behind a head that stands out."""
        first, *others = self.wrap(head, text, rest)
        return [self.paint(first[: len(head)], fg=fg, bold=True) + first[len(head) :], *others]

    def flow(self, items: Iterable[str]) -> list[str]:
        """Joins items with dots and wraps between them only."""
        return self.wrap("", self.dot.join(item.replace(" ", "\xa0") for item in items), "  ")

    def field(self, label: str, text: str) -> list[str]:
        """Text behind a label, or under it in a narrow terminal; without a label it goes on where the last one was."""
        if self.style.width >= _NARROW:
            return self.block(f"  {label}".ljust(_LABEL_COLUMN), text, " " * _LABEL_COLUMN)
        return [*([self.paint(f"  {label}", bold=True)] if label else []), *self.wrap("    ", text, "    ")]

    def code(self, text: str) -> list[str]:
        """A source line under a field."""
        indent = " " * (_LABEL_COLUMN + 2 if self.style.width >= _NARROW else 6)
        return self.wrap(indent, one_line(text, _LONGEST_LINE), indent) if text else []


def _head(report: Report, pen: _Pen) -> list[str]:
    environment = report.environment
    target = [environment.executable, f"Python {environment.python}"]
    return [
        *pen.flow([f"ckptdoctor {report.version}", *target, *_devices(report.probes)]),
        *pen.flow(_stack(environment) or ["nothing to diagnose is installed"]),
        *(pen.flow([report.job]) if report.job else []),
    ]


def _devices(probes: list[ProbeResult]) -> list[str]:
    """Where probes ran; one that did not come to an end cannot tell."""
    return list(dict.fromkeys(p.evidence.device for p in probes if p.evidence.ended in ("returned", "raised")))


def _stack(environment: Environment) -> list[str]:
    return [f"{name} {environment.version(name)}".rstrip() for name in environment.stack]


def _verdict(report: Report, pen: _Pen) -> list[str]:
    word, color = _VERDICTS[report.verdict]
    return [pen.paint(line, fg=color, bold=True) for line in pen.wrap(f"{word}  ", report.summary, "  ")]


def _gate(report: Report, pen: _Pen) -> list[str]:
    """What counts, where that is not all that was found."""
    gate = report.gate
    if gate is None or (
        gate.fail_on == "error" and not gate.stale and not any(one.accepted for one in report.findings)
    ):
        return []
    return [
        *pen.wrap("", gate.summary, "  "),
        *(line for one in gate.stale for line in pen.wrap("", stale_text(one), "  ")),
    ]


def _notes(notes: list[str], pen: _Pen) -> list[str]:
    lines = [line for note in notes for line in pen.block("- ", note, "  ")]
    return [pen.paint("notes", bold=True), *lines] if lines else []


def _finding(finding: Finding, pen: _Pen) -> list[str]:
    head = f"{finding.rule}  {finding.severity}  "
    return [
        *pen.block(head, finding.title, "  ", fg=_SEVERITIES[finding.severity]),
        *(pen.field("passed over", text) if (text := accepted_text(finding)) else []),
        *_what(finding, pen),
        *_places(finding, pen),
        *_ruled_out(finding, pen),
        *(pen.field("seen in", _some(finding.probes, everything=pen.style.verbose)) if finding.probes else []),
        *_remedies(finding, pen),
        *pen.block("  more: ", f"ckptdoctor rule {finding.rule}".replace(" ", "\xa0"), "    "),
    ]


def _what(finding: Finding, pen: _Pen) -> list[str]:
    texts = [_error_line(finding.error)] if finding.error else []
    texts += [finding.detail] if finding.detail else []
    return [line for label, text in zip(("what", ""), texts, strict=False) for line in pen.field(label, text)]


def _error_line(error: Error) -> str:
    return one_line(f"{error.type}: {error.message}", _LONGEST_LINE)


def _places(finding: Finding, pen: _Pen) -> list[str]:
    lines: list[str] = []
    if finding.culprit:
        # Only this rule is about an attribute that the culprit reads off what it was given.
        label = blames(finding.rule, finding.culprit)
        lines += [*pen.field(label, located(finding.culprit)), *pen.code(finding.culprit.code)]
    made_of = finding.callable.text if finding.callable else ""
    if finding.passed_by:
        lines += [*pen.field("passed by", located(finding.passed_by))]
        lines += pen.code(made_of or finding.passed_by.code)
    elif made_of:
        lines += pen.field("callable", one_line(made_of, _LONGEST_LINE))
    return lines


def _ruled_out(finding: Finding, pen: _Pen) -> list[str]:
    texts = [f"{one.package} {one.version}: {one.reason}" for one in finding.ruled_out]
    return [line for at, text in enumerate(texts) for line in pen.field("" if at else "ruled out", text)]


def _some(ids: list[str], everything: bool) -> str:
    shown = ids if everything else ids[:_PROBES_NAMED]
    more = f" and {len(ids) - len(shown)} more" if len(shown) < len(ids) else ""
    return f"{', '.join(shown)}{more} ({counted(len(ids), 'probe')})"


def _remedies(finding: Finding, pen: _Pen) -> list[str]:
    stuck = pen.field("releases", finding.impasse) if finding.impasse else []
    stuck += pen.field("not tried", finding.unsearched) if finding.unsearched else []
    if not finding.remedies:
        looked_for = f"nothing found; looked for {listed(finding.searched)}"
        return [*stuck, *(pen.field("fixes", looked_for) if finding.searched else [])]
    lines = [*stuck, pen.paint("  fixes", bold=True)]
    for number, remedy in enumerate(finding.remedies, 1):
        lines += _remedy(number, remedy, pen)
    return lines


def _remedy(number: int, remedy: Remedy, pen: _Pen) -> list[str]:
    known = f"{remedy.kind}, verified here" if remedy.verified else remedy.kind
    labelled = [("cost", remedy.cost), ("known from", remedy.evidence), ("breaks", "; ".join(remedy.breaks))]
    return [
        *pen.block(f"    {number}. [{known}] ", remedy.title, "       "),
        *(pen.paint(f"         {line}", fg="cyan") for command in remedy.commands for line in command.split("\n")),
        *(
            f"         {_diff_line(line, pen)}"
            for diff in filter(None, (remedy.diff, *remedy.edits))
            for line in diff.rstrip("\n").split("\n")
        ),
        *(line for label, text in labelled if text for line in pen.block("       ", f"{label}: {text}", "         ")),
    ]


def _diff_line(line: str, pen: _Pen) -> str:
    if line.startswith(("+++", "---")):
        return pen.paint(line, bold=True)
    return pen.paint(line, fg={"+": "green", "-": "red", "@": "cyan"}.get(line[:1]))


def _what_ran(report: Report, pen: _Pen) -> list[str]:
    probes = [probe for probe in report.probes if probe.role != "convention"]
    if not probes:
        return []
    source = "from the cache" if report.cached else f"{report.seconds:.1f} s"
    lines = pen.block("what was run ", f"({counted(len(report.probes), 'probe')}, {source})", "  ")
    lines += (_probe_table(probes, pen) or _probe_list(probes, pen)) if pen.style.verbose else _by_model(probes, pen)
    if any(probe.role == "advisory" for probe in probes):
        lines += pen.wrap("  ", f"{_ADVISORY} advisory: does not count for the verdict", "  ")
    return lines


def _probe_table(probes: list[ProbeResult], pen: _Pen) -> list[str]:
    """The widest table that the terminal holds; empty when it holds none."""
    convention = any(probe.calling_convention not in _OWN_CONVENTIONS for probe in probes)
    headers = ["model", "checkpoint function", "engine", *(["convention"] if convention else [])]
    headers += ["outcome", "what happened", "s"]
    for limit in _ERROR_LIMITS:
        rows = [_probe_row(probe, convention, limit, pen) for probe in probes]
        if lines := _table(headers, rows, pen):
            return lines
    return []


def _probe_row(probe: ProbeResult, convention: bool, limit: int, pen: _Pen) -> list[str]:
    names = [probe.model, probe.checkpoint_function, probe.engine, *([probe.calling_convention] if convention else [])]
    cells = [one_line(name, _LONGEST_LINE) for name in names]
    return [*cells, _outcome(probe, pen), one_line(_happened(probe), limit), f"{probe.evidence.seconds:.1f}"]


def _outcome(probe: ProbeResult, pen: _Pen) -> str:
    mark = _ADVISORY if probe.role == "advisory" else ""
    return pen.paint(probe.outcome, fg=_OUTCOMES.get(probe.outcome)) + mark


def _happened(probe: ProbeResult) -> str:
    return " ".join([*probe.rules, happened(probe)])


def _probe_list(probes: list[ProbeResult], pen: _Pen) -> list[str]:
    lines: list[str] = []
    for probe in probes:
        names = [probe.model, probe.checkpoint_function, probe.engine]
        names += [probe.calling_convention] if probe.calling_convention not in _OWN_CONVENTIONS else []
        mark = _ADVISORY if probe.role == "advisory" else ""
        lines += pen.block("- ", f"{' / '.join(names)}: {probe.outcome}{mark}", "  ")
        what = one_line(_happened(probe), _LONGEST_LINE)
        lines += pen.wrap("    ", what, "    ") if what else []
    return lines


def _by_model(probes: list[ProbeResult], pen: _Pen) -> list[str]:
    """How each checkpoint function fares under each engine, a grid for each model."""
    grids: dict[str, _Cells] = {}
    usual = {probe.model: _reentrance(probe) for probe in reversed(probes) if probe.role == "subject"}
    for probe in probes:
        chosen = probe.calling_convention if probe.calling_convention in probe.id.split("/") else ""
        function = "no checkpointing" if probe.checkpoint_function == "none" else probe.checkpoint_function
        cells = grids.setdefault(probe.model, {})
        turned = _reentrance(probe) if _reentrance(probe) != usual.get(probe.model, "") else ""
        _put(cells, " / ".join(filter(None, [function, chosen, probe.variant, turned])), probe.engine, probe)
    lines: list[str] = []
    for model, cells in grids.items():
        lines += pen.block("  model ", model, "  ")
        lines += _grid(cells, "checkpoint function", "engine", pen)
    return lines


def _reentrance(probe: ProbeResult) -> str:
    """What a job's setup sets of reentrant checkpointing, as the probe's id has it; empty where it sets nothing."""
    setup = [word for part in probe.id.split("/") for word in part.split("+")]
    return next((word for word in ("non-reentrant", "reentrant") if word in setup), "")


def _conventions(report: Report, pen: _Pen) -> list[str]:
    """How each checkpoint function fares with each way of handing a layer over."""
    cells: _Cells = {}
    for probe in (probe for probe in report.probes if probe.role == "convention"):
        _put(cells, probe.checkpoint_function, probe.calling_convention, probe)
    if not cells:
        return []
    title = pen.block("calling conventions ", "of our own model, whether or not this stack uses them", "  ")
    return [*title, *_grid(cells, "checkpoint function", "convention", pen)]


def _put(cells: _Cells, row: str, column: str, probe: ProbeResult) -> None:
    """Add a probe to a grid; where several share a cell, it shows how each of them ended."""
    shown = cells.setdefault(one_line(row, _LONGEST_LINE), {}).setdefault(one_line(column, _LONGEST_LINE), [])
    if (cell := _cell(probe)) not in shown:
        shown.append(f"{cell} as installed" if "as installed" in probe.id.split("/") else cell)


def _grid(cells: _Cells, rows: str, columns: str, pen: _Pen) -> list[str]:
    """A table of cells by row and column, turned round or as a list where it is wider than the terminal."""
    across = list(dict.fromkeys(name for row in cells.values() for name in row))
    shown = {name: {column: _SHARED.join(row.get(column, [])) for column in across} for name, row in cells.items()}
    lying = [[name, *row.values()] for name, row in shown.items()]
    standing = [[column, *(row[column] for row in shown.values())] for column in across]
    return _table([rows, *across], lying, pen) or _table([columns, *cells], standing, pen) or _grid_as_list(shown, pen)


def _grid_as_list(shown: dict[str, dict[str, str]], pen: _Pen) -> list[str]:
    lines: list[str] = []
    for name, row in shown.items():
        pairs = [f"{column} {cell}".replace(" ", "\xa0") for column, cell in row.items() if cell]
        lines += pen.block("- ", f"{name}: {', '.join(pairs)}", "  ")
    return lines


def _cell(probe: ProbeResult) -> str:
    outcome = "ok (simulated)" if probe.outcome == "ok" and probe.evidence.forward_only else probe.outcome
    mark = _ADVISORY if probe.role == "advisory" else ""
    return one_line(",".join(probe.rules) or outcome, _LONGEST_LINE) + mark


def _table(headers: list[str], rows: Sequence[Sequence[str]], pen: _Pen) -> list[str]:
    """A table, or nothing where it is wider than the terminal."""
    # Headers go in as rows, since tabulate pads real ones; numbers stay text, a version may look like one.
    head = [[pen.paint(header, bold=True) for header in headers], ["-" * len(header) for header in headers]]
    table = tabulate([*head, *rows], tablefmt="plain", disable_numparse=True)
    lines = [f"  {line}".rstrip() for line in table.splitlines()]
    return lines if max(len(click.unstyle(line)) for line in lines) <= pen.style.width else []


def _failure(probe: ProbeResult, pen: _Pen) -> list[str]:
    """The traceback and the output of a probe that went wrong."""
    error, output = probe.evidence.error, probe.evidence.output
    if probe.outcome == "ok" or not (error or output):
        return []
    lines = [pen.paint(one_line(probe.id, _LONGEST_LINE), bold=True)]
    for frame in error.frames if error else []:
        lines += pen.wrap("  ", f"{located(frame)} in {frame.function or '?'}", "    ")
        lines += pen.wrap("      ", one_line(frame.code, _LONGEST_LINE), "      ") if frame.code else []
    lines += pen.wrap("  ", _error_line(error), "    ") if error else []
    lines += [pen.paint("  output", bold=True), *(f"    {line}" for line in output.splitlines())] if output else []
    return lines
