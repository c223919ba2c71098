"""For a browser: one page with the call chain as a picture, fixes to copy, and each probe's evidence on click."""

from __future__ import annotations

from dataclasses import dataclass

from ckptdoctor.catalog import package_of
from ckptdoctor.model.report import Finding, ProbeResult, Remedy, Report
from ckptdoctor.output import Style, page
from ckptdoctor.output.sentences import (
    VERDICTS,
    accepted_text,
    counts_otherwise,
    devices,
    error_text,
    happened,
    not_tried,
    outcome,
    stale_text,
    verdict,
)
from ckptdoctor.output.views import chain, excerpts, probe_evidence, probe_grid
from ckptdoctor.output.views.chain import Link
from ckptdoctor.output.views.excerpts import Excerpt
from ckptdoctor.output.views.probe_evidence import Fact
from ckptdoctor.rules import RULES, label_of
from ckptdoctor.words.escape import escaped, one_line
from ckptdoctor.words.wording import listed, owner

_LOOKS = {"ok": "ok", "fail": "fail", "not judged": "not-judged", "error": "error"}


@dataclass(frozen=True)
class Shown:
    """A finding as the page shows it.

    Attributes:
        finding: It.
        id: What links lead to.
        owner: Package and release of the culprit, or its file; empty where no line is named.
        is_at_fault: The owner is to blame. Otherwise the line only says where it happens.
        error: The exception in a line.
        meaning: What the rule stands for.
        accepted: Why it does not count.
        links: The chain that it breaks.
        excerpts: Its places as pieces of source.
        searched: What was looked for in vain to fix it.
    """

    finding: Finding
    id: str
    owner: str
    is_at_fault: bool
    error: str
    meaning: str
    accepted: str
    links: list[Link]
    excerpts: list[Excerpt]
    searched: str

    @property
    def is_fault(self) -> bool:
        """Whether it says that something is broken, not that something could not be diagnosed or is doubtful."""
        rule = RULES.get(self.finding.rule)
        return self.finding.severity == "error" and not (rule and rule.not_judged)

    @property
    def kind(self) -> str:
        """What it is, as the head of a line."""
        return "Fault" if self.is_fault else "Not diagnosed" if self.finding.severity == "error" else "Warning"

    @property
    def look(self) -> str:
        """How it is coloured; the words say the same."""
        return "fail" if self.is_fault else "error"

    @property
    def mark(self) -> str:
        """What is said of the last link of its chain."""
        if not self.is_fault:
            return "stops here" if self.finding.severity == "error" and self.error else self.kind.lower()
        return "fails here" if self.error else "at fault" if self.is_at_fault else "here"

    @property
    def best(self) -> Remedy | None:
        """The remedy that changes least."""
        return next(iter(self.finding.remedies), None)


@dataclass(frozen=True)
class Probe:
    """A probe as the page shows it."""

    number: int
    name: str
    outcome: str
    look: str
    what: str
    seconds: float
    facts: list[Fact]


def render(report: Report, style: Style) -> str:
    """Prints a report as a page; ``style`` is ignored."""
    # Escaped as a whole, so that no character hides or turns round what the page shows.
    found, report = report.findings, escaped(report)
    return page.render(
        "report",
        report=report,
        verdict=VERDICTS[report.verdict],
        look=_LOOKS[report.verdict],
        headline=verdict(report),
        untried=not_tried(report),
        stale=[stale_text(entry) for entry in report.gate.stale] if report.gate else [],
        counts=report.gate.summary if report.gate and counts_otherwise(report) else "",
        findings=[
            _shown(number, *both, report) for number, both in enumerate(zip(found, report.findings, strict=True), 1)
        ],
        works=[] if report.findings else chain.of_what_works(report),
        grids=probe_grid.grids(report),
        probes=[_probe(number, one, probe_grid.warnings_only(report)) for number, one in enumerate(report.probes, 1)],
        devices=listed(devices(report.probes), 8),
    )


def _shown(number: int, found: Finding, finding: Finding, report: Report) -> Shown:
    """A finding as it came, and as it may be shown."""
    error = finding.error
    rule = RULES.get(finding.rule)
    return Shown(
        finding=finding,
        id=f"finding-{number}",
        owner=owner(finding.culprit, ""),
        is_at_fault=_is_at_fault(finding, report),
        error=error_text(error) if error else "",
        meaning=rule.meaning if rule else "",
        accepted=accepted_text(finding),
        links=chain.of_finding(finding, report),
        excerpts=excerpts.of(found),
        searched=listed(finding.searched, len(finding.searched)) if not finding.remedies else "",
    )


def _is_at_fault(finding: Finding, report: Report) -> bool:
    """Whether the owner of a finding's line is to blame for it.

    It is if the rule says what the line did wrong. It is too if the line belongs to the checkpoint function, and torch's own
    function does the same without the fault.
    """
    rule, culprit = RULES.get(finding.rule), finding.culprit
    if rule is None or rule.not_judged or culprit is None or finding.severity != "error":
        return False
    functions = [one for one in report.probes if one.id in finding.probes]
    files = {one.evidence.loaded.place.file for one in functions if one.evidence.loaded}
    is_function = culprit.file in files or culprit.package in {package_of(one.checkpoint_function) for one in functions}
    is_torch_sound = any(one.package == "torch" for one in finding.ruled_out)
    return bool(label_of(finding.rule, culprit, "")) or (is_function and is_torch_sound)


def _probe(number: int, probe: ProbeResult, warned: set[str]) -> Probe:
    return Probe(
        number=number,
        name=probe_grid.full_name(probe),
        outcome=", ".join(probe.rules) or outcome(probe),
        look=probe_grid.look(probe, warned),
        what=one_line(happened(probe), 160),
        seconds=probe.evidence.seconds,
        facts=probe_evidence.facts(probe),
    )
