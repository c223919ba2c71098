"""For issues, pull requests and a run's page: findings, remedies and what was run."""

from __future__ import annotations

from collections.abc import Iterator

from ckptdoctor.model.report import ProbeResult, Remedy, Report
from ckptdoctor.output import Style
from ckptdoctor.output.markup import bullets, code, fenced, folded, prose, table
from ckptdoctor.output.sentences import VERDICTS, happened, notes, outcome, stale_text, verdict
from ckptdoctor.output.views import published
from ckptdoctor.output.views.published import Published, Spot
from ckptdoctor.rules import label_of
from ckptdoctor.words.wording import counted

_MOST_LINES = 200
"""Lines of a diff or a command that are shown."""
_LONG = 20
"""Lines of a diff or rows of a table beyond which a click shows them."""


def render(report: Report, style: Style) -> str:
    """Prints a report for an issue; ``style`` is ignored."""
    shown, found = published.clean(report), published.findings(report)
    blocks = [
        _head(shown),
        _overview(found),
        *(block for one in found for block in _finding(one)),
        *bullets("### Baseline out of date", [stale_text(entry) for entry in shown.gate.stale] if shown.gate else []),
        *bullets("### Not tried", shown.not_tried),
        *bullets("### Notes", notes(shown)),
        *_probes(report, shown),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _head(report: Report) -> str:
    environment = report.environment
    stack = [f"{name} {environment.version(name)}" for name in environment.stack]
    lines = [f"**{VERDICTS[report.verdict]}**: {prose(verdict(report))}"]
    lines += [prose(report.gate.summary)] if report.gate else []
    lines += [prose(f"{', '.join([f'Python {environment.python}', *stack])}; ckptdoctor {report.version}.")]
    return "\n\n".join(lines)


# -- findings ---------------------------------------------------------------------------------------------------------


def _overview(found: list[Published]) -> str:
    """The findings in a table, for whoever looks at a run's page."""
    if not found:
        return ""
    rows = [
        [
            prose(one.finding.rule),
            f"{one.finding.accepted or one.finding.severity}",
            prose(one.title),
            code(one.at.text) if one.at else "",
        ]
        for one in found
    ]
    return table(["rule", "", "what", "where"], rows)


def _finding(one: Published) -> Iterator[str]:
    finding = one.finding
    yield f"### {prose(finding.rule)} {finding.severity}: {prose(one.title)}"
    if one.accepted:
        yield f"**{prose(one.accepted)}**"
    if finding.error:
        yield code(f"{finding.error.type}: {finding.error.message}")
    if finding.detail:
        yield prose(finding.detail)
    yield "\n".join(_facts(one))
    if finding.remedies:
        yield "#### Fixes"
        yield "\n\n".join(_remedy(number, remedy) for number, remedy in enumerate(finding.remedies, 1))


def _facts(one: Published) -> Iterator[str]:
    finding = one.finding
    yield from _place(label_of(finding.rule, finding.culprit).capitalize(), one.at)
    yield from _place("Passed by", one.passed_by)
    if finding.callable:
        yield f"- Callable: {code(finding.callable.text)}"
    for ruled_out in finding.ruled_out:
        yield f"- Ruled out: {prose(f'{ruled_out.package} {ruled_out.version}')}: {prose(ruled_out.reason)}"
    if one.names:
        yield f"- Seen in: {', '.join(map(code, one.names))}"
    if finding.impasse:
        yield f"- Releases: {prose(finding.impasse)}"
    if finding.unsearched:
        yield f"- Not tried: {prose(finding.unsearched)}"


def _place(label: str, spot: Spot | None) -> Iterator[str]:
    if spot is not None:
        yield f"- {label}: {code(spot.text)}"
        if spot.code:
            yield f"  - {code(spot.code)}"


def _remedy(number: int, remedy: Remedy) -> str:
    facts = [("Cost", remedy.cost), ("Known from", remedy.evidence), ("Breaks", "; ".join(remedy.breaks))]
    parts = [f"{number}. **{remedy.label}**: {prose(remedy.title)}"]
    parts += ["\n".join(f"   - {label}: {prose(text)}" for label, text in facts if text)]
    parts += [_inside(fenced(_cut("\n".join(remedy.commands)), "bash"))] if remedy.commands else []
    parts += [_inside(_diff(diff)) for diff in (remedy.diff, *remedy.edits) if diff]
    return "\n\n".join(filter(None, parts))


def _diff(diff: str) -> str:
    """A diff; one that fills the screen shows by a click."""
    block = fenced(_cut(diff), "diff")
    lines = diff.count("\n")
    return block if lines <= _LONG else folded(f"diff, {lines} lines", block)


def _inside(block: str) -> str:
    """A block as a part of a list's item."""
    return "\n".join(f"   {line}" for line in block.split("\n"))


def _cut(text: str) -> str:
    lines = text.rstrip("\n").split("\n")
    if len(lines) <= _MOST_LINES:
        return text
    return "\n".join([*lines[:_MOST_LINES], f"... and {len(lines) - _MOST_LINES} lines more"])


# -- all the rest -----------------------------------------------------------------------------------------------------


def _probes(report: Report, shown: Report) -> Iterator[str]:
    pairs = [pair for pair in zip(report.probes, shown.probes, strict=True) if pair[0].role != "convention"]
    if pairs:
        yield "### What was run"
        ran = table(["probe", "outcome", "what happened"], [_row(*pair) for pair in pairs])
        yield ran if len(pairs) <= _LONG else folded(counted(len(pairs), "probe"), ran)


def _row(probe: ProbeResult, shown: ProbeResult) -> list[str]:
    role = {"control": " (control)", "advisory": " (advisory)"}.get(probe.role, "")
    return [
        code(published.name_of(probe)) + role,
        prose(" ".join([outcome(shown), *shown.rules])),
        code(happened(shown)),
    ]
