"""For people: the verdict, whose fault it is and what fixes it, then what was run. The default."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ckptdoctor.model.evidence import Environment, Error
from ckptdoctor.model.report import Finding, ProbeResult, Remedy, Report
from ckptdoctor.output import Style
from ckptdoctor.output.layout import COLORS, SEVERITIES, Layout, page
from ckptdoctor.output.sentences import VERDICTS, accepted_text, happened, outcome, stale_text
from ckptdoctor.rules import label_of
from ckptdoctor.words.escape import escaped, one_line
from ckptdoctor.words.wording import counted, listed, located

_OUTCOMES = {"ok": "green", "triggered": "red", "failed": "red", "crashed": "red", "timeout": "red"}
_OWN_CONVENTIONS = ("", "model")
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
    layout = Layout(style)
    return page(
        [
            _head(report, layout),
            [*_verdict(report, layout), *_gate(report, layout)],
            *(_finding(finding, layout) for finding in report.findings),
            layout.notes(report.notes),
            *(_probes(report, layout) if style.probes else []),
        ]
    )


def _head(report: Report, layout: Layout) -> list[str]:
    environment = report.environment
    if not environment.python:  # no process of a job told of it
        return [*layout.flow([f"ckptdoctor {report.version}"]), *(layout.flow([report.job]) if report.job else [])]
    target = [environment.executable, f"Python {environment.python}"]
    return [
        *layout.flow([f"ckptdoctor {report.version}", *target, *_devices(report.probes)]),
        *layout.flow(_stack(environment) or ["nothing to diagnose is installed"]),
        *(layout.flow([report.job]) if report.job else []),
    ]


def _devices(probes: Sequence[ProbeResult]) -> list[str]:
    """Where probes ran; one that did not come to an end cannot tell."""
    return list(dict.fromkeys(p.evidence.device for p in probes if p.evidence.ended in ("returned", "raised")))


def _stack(environment: Environment) -> list[str]:
    return [f"{name} {environment.version(name)}".rstrip() for name in environment.stack]


def _verdict(report: Report, layout: Layout) -> list[str]:
    return layout.sentence(report.summary, f"{VERDICTS[report.verdict]}  ", fg=COLORS[report.verdict], bold=True)


def _gate(report: Report, layout: Layout) -> list[str]:
    """What counts, if that is not all that was found."""
    gate = report.gate
    if gate is None or (
        gate.fail_on == "error" and not gate.stale and not any(one.accepted for one in report.findings)
    ):
        return []
    texts = [gate.summary, *map(stale_text, gate.stale)]
    return [line for text in texts for line in layout.wrap(text, rest="  ")]


# -- findings ---------------------------------------------------------------------------------------------------------


def _finding(finding: Finding, layout: Layout) -> list[str]:
    what = [_error_line(finding.error)] if finding.error else []
    ruled_out = [f"{one.package} {one.version}: {one.reason}" for one in finding.ruled_out]
    more = f"ckptdoctor rule {finding.rule}".replace(" ", "\xa0")
    return [
        *layout.wrap(finding.title, f"{finding.rule}  {finding.severity}  ", "  ", fg=SEVERITIES[finding.severity]),
        *layout.fields("status", filter(None, [accepted_text(finding)])),
        *layout.fields("what", filter(None, [*what, finding.detail])),
        *_places(finding, layout),
        *layout.fields("ruled out", ruled_out),
        *(layout.field("seen in", _some(finding.probes, layout.style.verbose)) if finding.probes else []),
        *_remedies(finding, layout),
        *layout.wrap(more, "  more: ", "    "),
    ]


def _error_line(error: Error) -> str:
    return one_line(f"{error.type}: {error.message}")


def _places(finding: Finding, layout: Layout) -> list[str]:
    lines: list[str] = []
    if finding.culprit:
        label = label_of(finding.rule, finding.culprit)
        lines += [*layout.field(label, located(finding.culprit)), *layout.code(finding.culprit.code)]
    made_of = finding.callable.text if finding.callable else ""
    if finding.passed_by:
        lines += layout.field("passed by", located(finding.passed_by))
        lines += layout.code(made_of or finding.passed_by.code)
    elif made_of:
        lines += layout.field("callable", one_line(made_of))
    return lines


def _some(ids: Sequence[str], everything: bool) -> str:
    shown = ids if everything else ids[:_PROBES_NAMED]
    more = f" and {len(ids) - len(shown)} more" if len(shown) < len(ids) else ""
    return f"{', '.join(shown)}{more} ({counted(len(ids), 'probe')})"


def _remedies(finding: Finding, layout: Layout) -> list[str]:
    lines = layout.fields("releases", filter(None, [finding.impasse]))
    lines += layout.fields("not tried", filter(None, [finding.unsearched]))
    if finding.remedies:
        lines.append(layout.paint("  fixes", bold=True))
    elif finding.searched:
        lines += layout.field("fixes", f"found none; looked for {listed(finding.searched)}")
    for number, remedy in enumerate(finding.remedies, 1):
        lines += _remedy(number, remedy, layout)
    return lines


def _remedy(number: int, remedy: Remedy, layout: Layout) -> list[str]:
    labelled = [("cost", remedy.cost), ("known from", remedy.evidence), ("breaks", "; ".join(remedy.breaks))]
    commands = [layout.paint(line, fg="cyan") for command in remedy.commands for line in command.split("\n")]
    diffs = [diff.rstrip("\n").split("\n") for diff in (remedy.diff, *remedy.edits) if diff]
    return [
        *layout.wrap(remedy.title, f"    {number}. [{remedy.label}] ", "       "),
        *(f"         {line}" for line in commands),
        *(f"         {_diff_line(line, layout)}" for diff in diffs for line in diff),
        *(line for label, text in labelled if text for line in layout.wrap(text, f"       {label}: ", "         ")),
    ]


def _diff_line(line: str, layout: Layout) -> str:
    if line.startswith(("+++", "---")):
        return layout.paint(line, bold=True)
    return layout.paint(line, fg={"+": "green", "-": "red", "@": "cyan"}.get(line[:1]))


# -- what was run -----------------------------------------------------------------------------------------------------


def _probes(report: Report, layout: Layout) -> Iterator[list[str]]:
    """The tables of what was run, and all there is to say of what went wrong."""
    yield _what_ran(report, layout)
    yield _conventions(report, layout)
    yield from (_failure(probe, layout) for probe in report.probes if layout.style.verbose)


def _what_ran(report: Report, layout: Layout) -> list[str]:
    probes = [probe for probe in report.probes if probe.role != "convention"]
    if not probes:
        return []
    source = "from the cache" if report.cached else f"{report.seconds:.1f} s"
    lines = layout.wrap(f"({counted(len(report.probes), 'probe')}, {source})", "what was run ", "  ")
    if layout.style.verbose:
        lines += _probe_table(probes, layout) or _probe_list(probes, layout)
    else:
        lines += _by_model(probes, layout)
    if any(probe.role == "advisory" for probe in probes):
        lines += layout.wrap(f"{_ADVISORY} advisory: does not count for the verdict", "  ", "  ")
    return lines


def _probe_table(probes: list[ProbeResult], layout: Layout) -> list[str]:
    """The widest table that the terminal holds; empty if it holds none."""
    convention = any(probe.calling_convention not in _OWN_CONVENTIONS for probe in probes)
    headers = ["model", "checkpoint function", "engine", *(["convention"] if convention else [])]
    headers += ["outcome", "what happened", "s"]
    for limit in _ERROR_LIMITS:
        rows = [_probe_row(probe, convention, limit, layout) for probe in probes]
        if lines := layout.table(headers, rows):
            return lines
    return []


def _probe_row(probe: ProbeResult, convention: bool, limit: int, layout: Layout) -> list[str]:
    names = [probe.model, probe.checkpoint_function, probe.engine, *([probe.calling_convention] if convention else [])]
    ended = layout.paint(probe.outcome, fg=_OUTCOMES.get(probe.outcome)) + _mark(probe)
    return [*map(one_line, names), ended, one_line(_happened(probe), limit), f"{probe.evidence.seconds:.1f}"]


def _mark(probe: ProbeResult) -> str:
    return _ADVISORY if probe.role == "advisory" else ""


def _happened(probe: ProbeResult) -> str:
    return " ".join([*probe.rules, happened(probe)])


def _probe_list(probes: list[ProbeResult], layout: Layout) -> list[str]:
    lines: list[str] = []
    for probe in probes:
        names = [probe.model, probe.checkpoint_function, probe.engine]
        names += [probe.calling_convention] if probe.calling_convention not in _OWN_CONVENTIONS else []
        lines += layout.wrap(f"{' / '.join(names)}: {probe.outcome}{_mark(probe)}", "- ", "  ")
        what = one_line(_happened(probe))
        lines += layout.wrap(what, "    ", "    ") if what else []
    return lines


def _by_model(probes: list[ProbeResult], layout: Layout) -> list[str]:
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
        lines += layout.wrap(model, "  model ", "  ")
        lines += _grid(cells, "engine", layout)
    return lines


def _reentrance(probe: ProbeResult) -> str:
    """What a job's setup sets of reentrant checkpointing, as the probe's id has it; empty if it sets nothing."""
    setup = [word for part in probe.id.split("/") for word in part.split("+")]
    return next((word for word in ("non-reentrant", "reentrant") if word in setup), "")


def _conventions(report: Report, layout: Layout) -> list[str]:
    """How each checkpoint function fares with each calling convention."""
    cells: _Cells = {}
    for probe in (probe for probe in report.probes if probe.role == "convention"):
        _put(cells, probe.checkpoint_function, probe.calling_convention, probe)
    if not cells:
        return []
    title = layout.wrap("tried with tiny-glm4, whether or not this stack uses them", "calling conventions ", "  ")
    return [*title, *_grid(cells, "convention", layout)]


def _put(cells: _Cells, row: str, column: str, probe: ProbeResult) -> None:
    """Add a probe to a grid; where several share a cell, it shows how each of them ended."""
    shown = cells.setdefault(one_line(row), {}).setdefault(one_line(column), [])
    if (cell := one_line(",".join(probe.rules) or outcome(probe)) + _mark(probe)) not in shown:
        shown.append(f"{cell} as installed" if "as installed" in probe.id.split("/") else cell)


def _grid(cells: _Cells, columns: str, layout: Layout) -> list[str]:
    """A table of cells by row and column, or a list where it is wider than the terminal."""
    across = list(dict.fromkeys(name for row in cells.values() for name in row))
    rows = [(name, [_SHARED.join(row.get(column, [])) for column in across]) for name, row in cells.items()]
    return layout.grid(("checkpoint function", columns), across, rows) or _grid_as_list(across, rows, layout)


def _grid_as_list(across: list[str], rows: list[tuple[str, list[str]]], layout: Layout) -> list[str]:
    lines: list[str] = []
    for name, row in rows:
        pairs = [f"{column} {cell}".replace(" ", "\xa0") for column, cell in zip(across, row, strict=True) if cell]
        lines += layout.wrap(f"{name}: {', '.join(pairs)}", "- ", "  ")
    return lines


def _failure(probe: ProbeResult, layout: Layout) -> list[str]:
    """The traceback and the output of a probe that went wrong."""
    error, output = probe.evidence.error, probe.evidence.output
    if probe.outcome == "ok" or not (error or output):
        return []
    lines = [layout.paint(one_line(probe.id), bold=True)]
    for frame in error.frames if error else []:
        lines += layout.wrap(f"{located(frame)} in {frame.function or '?'}", "  ", "    ")
        lines += layout.wrap(one_line(frame.code), "      ", "      ") if frame.code else []
    lines += layout.wrap(_error_line(error), "  ", "    ") if error else []
    lines += [layout.paint("  output", bold=True), *(f"    {line}" for line in output.splitlines())] if output else []
    return lines
