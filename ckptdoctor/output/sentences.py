"""Sentences and words that several formats share."""

from __future__ import annotations

from collections.abc import Iterable

from ckptdoctor.model.evidence import Error
from ckptdoctor.model.proof import IN_WORDS
from ckptdoctor.model.report import Accepted, Finding, ProbeResult, Remedy, Report
from ckptdoctor.model.scan import Scan
from ckptdoctor.words.escape import LONGEST_LINE, one_line
from ckptdoctor.words.wording import counted, error_line, listed

VERDICTS = {"ok": "OK", "fail": "FAIL", "not judged": "NOT JUDGED", "error": "CANNOT BE DIAGNOSED"}


def happened(probe: ProbeResult) -> str:
    """What ended a probe, in one line; of a backward pass that was simulated, what the simulation showed."""
    evidence = probe.evidence
    if not evidence.forward_only:
        return probe.error or evidence.why
    tried = evidence.stand_in
    shown = error_line(tried.error) if tried and tried.error else ""
    return f"backward simulated on CPU{': ' if shown else ''}{shown}"


def error_text(error: Error, most: int = LONGEST_LINE) -> str:
    """An error's type and all of its message that a line holds."""
    return one_line(f"{error.type}: {error.message}", most)


def devices(probes: Iterable[ProbeResult]) -> list[str]:
    """Where probes ran; one that did not come to an end cannot tell."""
    return list(dict.fromkeys(p.evidence.device for p in probes if p.evidence.ended in ("returned", "raised")))


def outcome(probe: ProbeResult) -> str:
    """How a probe ended, in a word or two."""
    return "ok (simulated)" if probe.outcome == "ok" and probe.evidence.forward_only else probe.outcome


def proof(remedy: Remedy) -> str:
    """Which probes were run with a remedy."""
    return IN_WORDS[remedy.proven] or ("measured elsewhere" if remedy.is_measured else "not run here")


def not_tried(report: Report) -> list[str]:
    """What the verdict says nothing about, with what the search for fixes could not try."""
    return [*report.not_tried, *dict.fromkeys(one.unsearched for one in report.findings if one.unsearched)]


def notes(report: Report) -> list[str]:
    """The notes of a format that has no place of its own for the command which looks for fixes."""
    command = [f"To find what fixes it, and try it: {report.next_command}"] if report.next_command else []
    return [*command, *report.notes]


def summary(report: Report) -> str:
    """The verdict in a line of its own: with what it does not cover."""
    left_out = "; ".join(one.rstrip(".") for one in report.not_tried)
    return verdict(report) + (f" Not tried: {left_out}." if left_out else "")


def verdict(report: Report) -> str:
    """The verdict to go with a list of what it does not cover."""
    return f"{report.summary}{not_starting(report)}"


def not_starting(report: Report) -> str:
    """A sentence to follow a verdict of ``ok`` on jobs that do not start."""
    if report.verdict != "ok" or not report.not_starting:
        return ""
    return f" But {listed(list(report.not_starting))} starts no such job as things are: see the notes."


def counts_otherwise(report: Report) -> bool:
    """Whether something else than all errors decides the exit status."""
    gate = report.gate
    return gate is not None and (gate.fail_on != "error" or any(one.accepted for one in report.findings))


def accepted_text(finding: Finding) -> str:
    """Why a finding does not count, or empty if it counts."""
    if finding.accepted == "ignored":
        return f"ignored by {finding.reason}: does not count"
    if finding.accepted == "baseline":
        return f"accepted by the baseline: {finding.reason or 'no reason given'}"
    return ""


def stale_text(entry: Accepted) -> str:
    """That an entry of the baseline no longer matches."""
    functions = ", ".join(entry.checkpoint_functions)
    where = f"{entry.rule} in {entry.file}" if entry.file else f"{entry.rule}, {entry.code},"
    return f"The baseline accepts {where} with {functions}, which is gone. --update-baseline removes the entry."


def scan_verdict(found: Scan) -> str:
    """What a scan found, in one sentence or two."""
    severities = [one.severity for one in found.findings]
    counts = [counted(severities.count(one), one) for one in ("error", "warning", "note") if one in severities]
    release = f"judged for transformers {found.transformers}" if found.transformers else "no transformers to judge for"
    read = f"{counted(found.files, 'Python file')} read in {listed(found.scanned)}, {release}."
    missed = f" {counted(len(found.not_scanned), 'file')} could not be scanned." if found.not_scanned else ""
    return f"{listed(counts) or 'Nothing found'}: {read}{missed}"
