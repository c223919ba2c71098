"""What a scan of source code ends in: the types of the findings that every format prints."""

from __future__ import annotations

from typing import Literal

import msgspec

from ckptdoctor.model.evidence import Place
from ckptdoctor.model.exit_status import ExitStatus
from ckptdoctor.model.report import FailOn, Severity, Verdict

SCHEMA = "ckptdoctor/scan/1"

Certainty = Literal["certain", "likely", "possible"]
"""``certain``: the code says so itself; ``likely``: names and shapes say so; ``possible``: it depends on what runs."""


class Breakage(msgspec.Struct, frozen=True):
    """What goes wrong with some releases of transformers."""

    consequence: str
    """What happens, e.g. ``AttributeError: 'function' object has no attribute '__self__'``."""
    releases: str
    """In words, e.g. ``5.23.0 and later``."""
    first: str
    last: str
    """The newest release that was read, if it happens up to there."""


class Trial(msgspec.Struct, frozen=True):
    """What ``ckptdoctor check`` says of a function that was found."""

    verdict: Verdict
    summary: str


class ScanFinding(msgspec.Struct, frozen=True):
    """A place in a source file that relies on how checkpointing works inside transformers."""

    rule: str
    name: str
    severity: Severity
    """``error``: it breaks with the release in use; ``warning``: it may, or breaks with another release; ``note``: else."""
    certainty: Certainty
    reason: str
    """Why it is as certain as that."""
    place: Place
    title: str
    assumes: str
    breaks: tuple[Breakage, ...] = ()
    """Oldest releases first; empty: no release that was read breaks it."""
    affected: str = ""
    """What happens with the release in use; empty: nothing, or it is not known which release that is."""
    function: str = ""
    """The checkpoint function that is meant, as ``--checkpoint-fn`` takes it; empty where there is none to call."""
    command: str = ""
    """The command that tries this function."""
    trial: Trial | None = None
    ignored: str = ""
    """The option for which it does not count; empty: it counts."""


class NotScanned(msgspec.Struct, frozen=True):
    """A file or folder of which nothing is known."""

    file: str
    why: str


class Scan(msgspec.Struct, frozen=True):
    """A finished scan."""

    schema: str
    version: str
    """Of ckptdoctor."""
    scanned: tuple[str, ...]
    """What was scanned: folders, files, and packages with their versions."""
    transformers: str
    """The release that findings are judged for; empty where none is known."""
    transformers_from: Literal["installed", "option", ""]
    known: tuple[str, str]
    """The oldest and the newest release of transformers whose source was read for this version of ckptdoctor."""
    files: int
    """Python files that were read."""
    parsed: int
    """Those of them that name anything of checkpointing, and were parsed."""
    findings: tuple[ScanFinding, ...]
    not_scanned: tuple[NotScanned, ...] = ()
    notes: tuple[str, ...] = ()
    fail_on: FailOn = "error"
    seconds: float = 0.0

    @property
    def status(self) -> ExitStatus:
        """The exit status: 1 for findings that count, 3 if something could not be scanned, else 0."""
        if any(self.counts(one) for one in self.findings):
            return ExitStatus.FOUND
        return ExitStatus.UNDIAGNOSED if self.not_scanned else ExitStatus.OK

    def counts(self, finding: ScanFinding) -> bool:
        """Whether a finding fails the run."""
        severities = {"error": ("error",), "warning": ("error", "warning"), "never": ()}[self.fail_on]
        return not finding.ignored and finding.severity in severities
