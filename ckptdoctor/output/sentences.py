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


_NOT_TRIED = "Not tried"
_MEASURED = "measured on "
"""How the evidence of a remedy begins that the maps know, and nobody ran here."""


def proof(remedy: Remedy) -> str:
    """Which probes were run with a remedy."""
    elsewhere = "measured elsewhere" if remedy.evidence.startswith(_MEASURED) else "not run here"
    return IN_WORDS[remedy.proven] or elsewhere


def in_short(report: Report) -> str:
    """The verdict in a sentence, without what was not tried."""
    return report.summary.partition(f" {_NOT_TRIED}: ")[0]


def not_tried(report: Report) -> list[str]:
    """What the verdict says nothing about, for a list of that title: from the summary, the notes, and the search for fixes."""
    left_out = report.summary.partition(f" {_NOT_TRIED}: ")[2]
    notes = [note.removeprefix(f"{_NOT_TRIED}: ") for note in report.notes if is_not_tried(note)]
    fixes = [one.unsearched for one in report.findings if one.unsearched]
    return [*([left_out] if left_out else []), *notes, *dict.fromkeys(fixes)]


def is_not_tried(note: str) -> bool:
    """Whether a note is on something that was not tried."""
    return note.startswith(_NOT_TRIED)


_TO_FIX = "To find what fixes it, and try it: "


def to_fix(command: str) -> str:
    """The note that names the command which looks for fixes, where none was looked for."""
    return f"{_TO_FIX}{command}"


def fix_command(report: Report) -> str:
    """The command of such a note; empty without one."""
    return next((note.removeprefix(_TO_FIX) for note in report.notes if note.startswith(_TO_FIX)), "")


def other_notes(report: Report) -> list[str]:
    """The notes but for those that have a place of their own: what was not tried, and the command that looks for fixes."""
    return [note for note in report.notes if not (is_not_tried(note) or note.startswith(_TO_FIX))]


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
