"""Output formats: each takes a finished report and returns text; none prints.

A format's module is imported when it is first used, so that asking for JSON does not load what tables need.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ckptdoctor.model.report import Accepted, Finding, ProbeResult, Report
from ckptdoctor.words.wording import error_line


@dataclass(frozen=True)
class Style:
    """What the place that the text goes to can show.

    Attributes:
        color: Whether ANSI colours may be used.
        width: Columns of the terminal.
        verbose: Whether tracebacks and output of failed probes are wanted.
        unicode: Whether anything beyond ASCII may be written.
    """

    color: bool
    width: int
    verbose: bool
    unicode: bool


def _text(report: Report, style: Style) -> str:
    from ckptdoctor.output import text

    return text.render(report, style)


def _json(report: Report, style: Style) -> str:
    from ckptdoctor.output import json

    return json.render(report, style)


def _junit(report: Report, style: Style) -> str:
    from ckptdoctor.output import junit

    return junit.render(report, style)


def _sarif(report: Report, style: Style) -> str:
    from ckptdoctor.output import sarif

    return sarif.render(report, style)


def _github(report: Report, style: Style) -> str:
    from ckptdoctor.output import github

    return github.render(report, style)


def _markdown(report: Report, style: Style) -> str:
    from ckptdoctor.output import markdown

    return markdown.render(report, style)


FORMATS: dict[str, Callable[[Report, Style], str]] = {
    "text": _text,
    "json": _json,
    "junit": _junit,
    "sarif": _sarif,
    "github": _github,
    "markdown": _markdown,
}


def render(format: str, report: Report, style: Style) -> str:  # noqa: A002 - named like the option
    """Prints a report into a string.

    Args:
        format: A key of ``FORMATS``.
        report: The finished report.
        style: What can be shown; formats for machines ignore it.

    Returns:
        The text, ending in a newline.
    """
    return FORMATS[format](report, style)


def render_remedies(report: Report, style: Style) -> str:
    """Prints what fixes each finding, for people, without the tables of what was run."""
    from ckptdoctor.output import text

    return text.render_remedies(report, style)


def happened(probe: ProbeResult) -> str:
    """What ended a probe, in one line; of a backward pass that was simulated, what the simulation showed."""
    evidence = probe.evidence
    if not evidence.forward_only:
        return probe.error or evidence.why
    tried = evidence.stand_in
    shown = error_line(tried.error) if tried and tried.error else ""
    return f"backward simulated on the CPU{': ' if shown else ''}{shown}"


def accepted_text(finding: Finding) -> str:
    """Why a finding does not count, or empty where it does."""
    if finding.accepted == "ignored":
        return f"ignored by {finding.reason}: does not count"
    if finding.accepted == "baseline":
        return f"accepted by the baseline: {finding.reason or 'no reason given'}"
    return ""


def stale_text(entry: Accepted) -> str:
    """That an entry of the baseline is out of date."""
    functions = ", ".join(entry.checkpoint_functions)
    where = f"{entry.rule} in {entry.file}" if entry.file else f"{entry.rule}, {entry.code},"
    return f"The baseline accepts {where} with {functions}, which is gone: --update-baseline removes it."
