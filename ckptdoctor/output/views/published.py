"""A report for others to read: nothing in it acts on where it is shown, and nothing tells of this machine's folders."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ckptdoctor.model.evidence import Place
from ckptdoctor.model.report import Finding, ProbeResult, Report
from ckptdoctor.output.sentences import accepted_text, error_text
from ckptdoctor.rules import label_of
from ckptdoctor.verdict import identity
from ckptdoctor.words.escape import LONGEST_LINE, escaped, one_line, plain


@dataclass(frozen=True)
class Spot:
    """A line of code.

    Attributes:
        file: Relative to the folder of packages or to the project.
        own: Whether the file is the project's.
        line: Its number.
        owner: Package and version.
        code: The line.
    """

    file: str
    own: bool
    line: int
    owner: str
    code: str

    @property
    def text(self) -> str:
        """Owner, file and line."""
        return ", ".join(filter(None, [self.owner, f"{self.file}:{self.line}"]))


@dataclass(frozen=True)
class Published:
    """A finding with what the formats for CI show of it.

    Attributes:
        finding: Clean of what acts and of this machine's folders.
        key: What it is told by, in 32 hexadecimal digits.
        at: The line that tells most.
        passed_by: The line that passed the callable.
        probes: Ids of its probes, as the report has them.
        names: The same without the folders of this machine.
    """

    finding: Finding
    key: str
    at: Spot | None
    passed_by: Spot | None
    probes: frozenset[str]
    names: list[str]

    @property
    def title(self) -> str:
        """The title on one line."""
        return one_line(self.finding.title)

    @property
    def accepted(self) -> str:
        """Why it does not count, or empty."""
        return one_line(accepted_text(self.finding))

    def lines(self) -> Iterator[str]:
        """All there is to say of it but for its title, in plain text, a line each."""
        finding = self.finding
        yield from filter(None, [self.accepted])
        if finding.error:
            yield error_text(finding.error)
        yield from filter(None, [one_line(finding.detail, 4 * LONGEST_LINE)])
        for label, spot in ((self.label, self.at), ("passed by", self.passed_by)):
            if spot is not None:
                yield f"{label} {spot.text}: {spot.code}" if spot.code else f"{label} {spot.text}"
        if finding.callable:
            yield one_line(f"callable {finding.callable.text}")
        for one in finding.ruled_out:
            yield one_line(f"ruled out: {one.package} {one.version}: {one.reason}")
        if finding.impasse:
            yield one_line(f"releases: {finding.impasse}")
        if finding.unsearched:
            yield one_line(f"not tried: {finding.unsearched}")
        for remedy in finding.remedies:
            yield one_line(f"fix [{remedy.label}]: {remedy.title}")
            yield from (f"  {one_line(command)}" for command in remedy.commands)

    @property
    def label(self) -> str:
        """What the culprit did, as the head of a line."""
        return label_of(self.finding.rule, self.finding.culprit, "at")


def clean(report: Report) -> Report:
    """A copy of a report that may be shown to anyone, anywhere."""
    return escaped(identity.without_paths(pasteable(report), report.environment))


def pasteable(report: Report) -> Report:
    """A copy in which commands name the environment's interpreter as it is called where that environment is active."""
    executable = report.environment.executable
    findings = [
        msgspec.structs.replace(
            finding,
            remedies=[
                msgspec.structs.replace(one, commands=[_with_python(line, executable) for line in one.commands])
                for one in finding.remedies
            ],
        )
        for finding in report.findings
    ]
    return msgspec.structs.replace(report, findings=findings)


def _with_python(command: str, executable: str) -> str:
    """A command for the active environment; what stands for a path that was redacted is not quoted as a path is."""
    return command.replace(shlex.quote(executable), "python").replace(executable, "python") if executable else command


def in_repository(file: str) -> str:
    """A project's file relative to the repository that GitHub Actions checked out, which may lie above the current folder.

    Args:
        file: Relative to the current folder.
    """
    root, here = os.environ.get("GITHUB_WORKSPACE", ""), Path.cwd()
    inside = here.relative_to(root) if root and here.is_relative_to(root) else Path()
    return (inside / file).as_posix()


def findings(report: Report) -> list[Published]:
    """The findings of a report, as it came, ready to be published."""
    cleaned = clean(report).findings
    return [
        Published(
            finding=shown,
            key=identity.Key.of(found).digest,
            at=_spot(identity.location(found)),
            passed_by=_spot(found.passed_by),
            probes=frozenset(found.probes),
            names=[name_of(probe) for probe in identity.subjects(found, report.probes)],
        )
        for found, shown in zip(report.findings, cleaned, strict=True)
    ]


def name_of(probe: ProbeResult) -> str:
    """A probe's name without the folders of this machine."""
    name = probe.id.replace(probe.checkpoint_function, identity.portable_function(probe.checkpoint_function))
    if "/" in probe.model or "\\" in probe.model:
        name = name.replace(probe.model, identity.portable(probe.model))
    return one_line(name)


def _spot(place: Place | None) -> Spot | None:
    if place is None:
        return None
    own = identity.in_project(place.file)
    return Spot(
        file=plain(own or identity.portable(place.file)).replace("\n", r"\n"),
        own=bool(own),
        line=max(place.line, 1),
        owner=one_line(f"{place.package} {place.version}"),
        code=one_line(place.code),
    )
