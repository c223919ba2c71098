"""For people: what is broken, by whom, what was tried, and last the verdict with what fixes it. The default."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ckptdoctor.model.evidence import Environment
from ckptdoctor.model.report import Finding, Remedy, Report
from ckptdoctor.output import Style
from ckptdoctor.output.layout import COLORS, SEVERITIES, Layout, page
from ckptdoctor.output.sentences import (
    VERDICTS,
    accepted_text,
    counts_otherwise,
    devices,
    error_text,
    not_starting,
    not_tried,
    proof,
    stale_text,
)
from ckptdoctor.output.views import excerpts, runs, source_text
from ckptdoctor.words.escape import LONGEST_LINE, escaped, one_line
from ckptdoctor.words.wording import SIMULATED, counted, listed, located

_PROBES_NAMED = 3
_IN_FULL = 2
"""Findings that are shown in full without ``-v``; one where two take more lines than a screen has."""
_SCREEN = 40
"""Lines that a failing check is to fit."""
_BEST = 3
"""Remedies that come with the verdict."""
_LEAST = 20
"""Characters that are shown of what was not tried, in the narrowest terminal."""


def render(report: Report, style: Style) -> str:
    """Prints a report for a person to read."""
    # Escaped as a whole, here and once: below this line no string of ``shown`` can act on the terminal.
    shown = escaped(report, ascii_only=not style.unicode)
    layout = Layout(style)
    if style.verbose or style.remedies:
        return _page(report, shown, layout, len(report.findings))
    text = _page(report, shown, layout, _IN_FULL)
    return text if text.count("\n") <= _SCREEN else _page(report, shown, layout, 1)


def _page(report: Report, shown: Report, layout: Layout, in_full: int) -> str:
    """The whole text, with so many findings in full; ``shown`` is the report, escaped."""
    style = layout.style
    findings = zip(shown.findings, report.findings, strict=True)
    return page(
        [
            _head(shown, layout),
            *(
                _finding(one, raw, layout) if number <= in_full else _in_short(one, layout)
                for number, (one, raw) in enumerate(findings, 1)
            ),
            *(runs.tables(shown, layout) if style.probes and style.verbose else []),
            [
                *(runs.folded(shown, layout) if style.probes and not style.verbose else []),
                *_notes(shown, layout),
                *_untried(shown, layout),
                *_end(shown, layout),
            ],
        ]
    )


def _head(report: Report, layout: Layout) -> list[str]:
    environment = report.environment
    if not environment.python:  # no process of a job told of it
        return [*layout.flow([f"ckptdoctor {report.version}"]), *(layout.flow([report.job]) if report.job else [])]
    target = [environment.executable, f"Python {environment.python}"]
    return [
        *layout.flow([f"ckptdoctor {report.version}", *target, *devices(report.probes)]),
        *layout.flow(_stack(environment) or ["nothing to diagnose is installed"]),
        *(layout.flow([report.job]) if report.job else []),
    ]


def _stack(environment: Environment) -> list[str]:
    return [f"{name} {environment.version(name)}".rstrip() for name in environment.stack]


# -- findings ---------------------------------------------------------------------------------------------------------


def _finding(finding: Finding, raw: Finding, layout: Layout) -> list[str]:
    """A finding: escaped, and as it came, since ranges count the characters of what is not escaped."""
    error, detail = error_text(finding.error) if finding.error else "", one_line(finding.detail, 4 * LONGEST_LINE)
    places = excerpts.of(raw, ascii_only=not layout.style.unicode)
    lines = [*_heading(finding, layout)]
    lines += layout.wrap(error, "  ", "  ") if error and error not in detail else []
    lines += source_text.lines(places, layout, SEVERITIES[finding.severity])
    lines += layout.wrap(f"{detail} {_more(finding)}".strip(), "  ", "  ")
    for one in finding.ruled_out:
        lines += _line("ruled out", f"{one.package} {one.version}: {one.reason}", layout)
    if layout.style.verbose or not layout.style.probes:
        lines += _line("seen in", _some(finding.probes, layout.style.verbose), layout) if finding.probes else []
    return [*lines, *_remedies(finding, layout)]


def _in_short(finding: Finding, layout: Layout) -> list[str]:
    """What is wrong, where, and what fixes it."""
    where = [located(finding.culprit)] if finding.culprit else []
    fixes = [_titled(one) for one in finding.remedies[:1]]
    return [
        *_heading(finding, layout),
        *(line for text in where for line in layout.wrap(text, "  --> ", "      ")),
        *(line for text in fixes for line in _line("fix", text, layout)),
        *layout.wrap(_more(finding), "  ", "  "),
    ]


def _more(finding: Finding) -> str:
    """The command that says what the fault is about, in one piece."""
    return f"More: ckptdoctor rule {finding.rule}".replace(" ", "\xa0")


def _heading(finding: Finding, layout: Layout) -> list[str]:
    head = f"{finding.severity}[{finding.rule}]: "
    title = one_line(finding.title).replace("`", "")
    lines = layout.wrap(title, head, "  ", SEVERITIES[finding.severity])
    accepted = accepted_text(finding)
    return [*lines, *(_line("status", accepted, layout) if accepted else [])]


def _line(label: str, text: str, layout: Layout) -> list[str]:
    return layout.wrap(text, f"  {label}: ", "    ")


def _some(ids: Sequence[str], everything: bool) -> str:
    shown = ids if everything else ids[:_PROBES_NAMED]
    more = f" and {len(ids) - len(shown)} more" if len(shown) < len(ids) else ""
    return f"{', '.join(shown)}{more} ({counted(len(ids), 'probe')})"


# -- remedies ---------------------------------------------------------------------------------------------------------


def _remedies(finding: Finding, layout: Layout) -> list[str]:
    lines = _line("releases", finding.impasse, layout) if finding.impasse else []
    lines += _line("not tried", finding.unsearched, layout) if finding.unsearched else []
    if not finding.remedies and finding.searched:
        lines += _line("fix", f"found none; looked for {listed(finding.searched)}", layout)
    if layout.style.verbose or layout.style.remedies:
        return [*lines, *(line for remedy in finding.remedies for line in _in_full(remedy, layout))]
    return [*lines, *_in_brief(finding.remedies, layout)]


def _in_full(remedy: Remedy, layout: Layout) -> list[str]:
    diffs = [diff.rstrip("\n").split("\n") for diff in (remedy.diff, *remedy.edits) if diff]
    labelled = [("cost", remedy.cost), ("known from", remedy.evidence), ("breaks", "; ".join(remedy.breaks))]
    return [
        *_line("fix", _titled(remedy), layout),
        *_commands(remedy.commands, layout, "      "),
        *(f"      {_diff_line(line, layout)}" for diff in diffs for line in diff),
        *(line for label, text in labelled if text for line in layout.wrap(text, f"    {label}: ", "      ")),
    ]


def _in_brief(remedies: Sequence[Remedy], layout: Layout) -> list[str]:
    """The first with all that is known of it, since its commands come with the verdict; of the others their titles."""
    lines: list[str] = []
    for remedy in remedies[:1]:
        breaks = [f"breaks {one}" for one in remedy.breaks]
        lines += _line("fix", _titled(remedy, is_brief=True), layout)
        lines += layout.wrap("; ".join(filter(None, [remedy.cost, remedy.evidence, *breaks])), "    ", "    ")
    others = [_titled(one, is_brief=True) + "".join(f", breaks {pin}" for pin in one.breaks) for one in remedies[1:]]
    return [
        *lines,
        *(_line("other fixes" if others[1:] else "other fix", "; ".join(others), layout) if others else []),
    ]


def _titled(remedy: Remedy, is_brief: bool = False) -> str:
    """A remedy with its kind, what was run with it here, and how to see the diff that is left out."""
    hint = "; diff: -v" if is_brief and (remedy.diff or remedy.edits) else ""
    return f"{remedy.title} [{remedy.kind}, {proof(remedy)}{hint}]"


def _commands(commands: Sequence[str], layout: Layout, margin: str) -> list[str]:
    """Each in one piece, to be copied."""
    return [f"{margin}{layout.paint(line, fg='cyan')}" for command in commands for line in command.split("\n")]


def _diff_line(line: str, layout: Layout) -> str:
    if line.startswith(("+++", "---")):
        return layout.paint(line, bold=True)
    return layout.paint(line, fg={"+": "green", "-": "red", "@": "cyan"}.get(line[:1]))


# -- the end ----------------------------------------------------------------------------------------------------------


def _notes(report: Report, layout: Layout) -> list[str]:
    """The notes, without that a function's step was simulated where a line of the probes says so."""
    is_told = layout.style.probes and not layout.style.verbose
    notes = [one for one in report.notes if not (is_told and SIMULATED in one)]
    return [line for note in notes for line in layout.labelled("note", note)]


def _untried(report: Report, layout: Layout) -> list[str]:
    """What was not tried: all of it where it bounds a verdict of ``ok``, else what one line holds."""
    of_fixes = {one.unsearched for one in report.findings}  # told with the finding
    text = "; ".join(one.rstrip(".") for one in not_tried(report) if one not in of_fixes)
    if report.verdict == "fail" and not layout.style.verbose:
        room = layout.style.width - len("not tried: ")
        more = ", ... (-v: all)"
        text = text if len(text) <= room else f"{_begun(text, max(room - len(more), _LEAST))}{more}"
    return layout.labelled("not tried", text) if text else []


def _begun(text: str, most: int) -> str:
    """As many whole items of a list as a number of characters holds; the beginning of the first where none fits."""
    ends = [found.start() for found in re.finditer(r"[,;] (?![^()]*\))", text) if found.start() <= most]
    return text[: ends[-1] if ends else most]


def _end(report: Report, layout: Layout) -> list[str]:
    """The verdict, what counts, and the best fix: where the eye is when the command has ended."""
    summary = report.headline if layout.style.probes and report.headline else report.summary
    if layout.style.probes and report.probes:
        summary = f"{summary.removesuffix('.')}; {runs.amount(report)}."
        summary += " Not covered: what was not tried." if report.verdict == "ok" and not_tried(report) else ""
    summary += not_starting(report)
    head = f"{VERDICTS[report.verdict]}  "
    return [
        *layout.sentence(summary, head, fg=COLORS[report.verdict], bold=True),
        *_gate(report, layout),
        *_best(report, layout),
        *_next_step(report, layout),
    ]


def _gate(report: Report, layout: Layout) -> list[str]:
    """What counts, if that is not all that was found."""
    gate = report.gate
    if gate is None or not (gate.stale or counts_otherwise(report)):
        return []
    texts = [gate.summary, *map(stale_text, gate.stale)]
    return [line for text in texts for line in layout.wrap(text, rest="  ")]


def _best(report: Report, layout: Layout) -> list[str]:
    """The first remedy of each fault with its commands; one that fixes several, and was run alike for them, has one line."""
    fixable = [one for one in report.findings if not one.accepted and one.remedies]
    faults = [one for one in fixable if one.severity == "error"] or fixable
    best: dict[str, tuple[Remedy, list[str]]] = {}
    for finding in faults:
        remedy = finding.remedies[0]
        best.setdefault(_titled(remedy), (remedy, []))[1].append(finding.rule)
    lines: list[str] = []
    for title, (remedy, rules) in list(best.items())[:_BEST]:
        label = f"fix for {listed(list(dict.fromkeys(rules)))}" if len(report.findings) > 1 else "fix"
        broken = f"; breaks {counted(len(remedy.breaks), 'requirement')}" if remedy.breaks else ""
        lines += [*layout.labelled(label, f"{title}{broken}"), *_commands(remedy.commands, layout, "  ")]
    return lines


def _next_step(report: Report, layout: Layout) -> list[str]:
    """The command to go on with, where nothing was tried that fixes it."""
    if not report.next_command:
        return []
    return [
        *layout.labelled("next", "find what fixes it, and try it"),
        *_commands([report.next_command], layout, "  "),
    ]
