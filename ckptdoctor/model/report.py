"""What a diagnosis ends in: the report that every output format prints. Nothing changes one once it is made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from ckptdoctor.model.evidence import CallableInfo, Environment, Error, Evidence, Place
from ckptdoctor.model.exit_status import ExitStatus
from ckptdoctor.model.proof import IN_WORDS, Proven

Verdict = Literal["ok", "fail", "not judged", "error"]
"""``not judged``: it needs what this machine does not have, a GPU; ``error``: it cannot be diagnosed."""

STATUS: dict[Verdict, ExitStatus] = {
    "ok": ExitStatus.OK,
    "fail": ExitStatus.FOUND,
    "not judged": ExitStatus.UNDIAGNOSED,
    "error": ExitStatus.UNDIAGNOSED,
}
"""The exit status that a verdict comes to."""

DECIDED: tuple[Verdict, ...] = ("ok", "fail")
"""Verdicts that say whether checkpointing works."""

Severity = Literal["error", "warning", "note"]
Outcome = Literal["ok", "triggered", "not judged", "failed", "skipped", "crashed", "timeout"]
FailOn = Literal["error", "warning", "never"]

SCHEMA = "ckptdoctor/report/1"


class RuledOut(msgspec.Struct, frozen=True):
    """A package that a finding clears, and the runs that clear it."""

    package: str
    version: str
    reason: str
    probes: tuple[str, ...]


class Remedy(msgspec.Struct, frozen=True):
    """A change that makes a finding go away."""

    kind: Literal["version", "patch", "adapter", "setting"]
    title: str
    """What to do, in one line."""
    cost: str
    evidence: str
    """How it is known to help."""
    commands: tuple[str, ...] = ()
    diff: str = ""
    """A unified diff, for a source patch."""
    breaks: tuple[str, ...] = ()
    """Declared pins that it breaks, e.g. ``llamafactory 0.9.2 requires transformers<=4.49.0``."""
    proven: Proven = ""
    """Which probes were run with it on this very stack, and were ok; empty: none."""
    tried: tuple[str, ...] = ()
    """Ids of those probes."""
    is_measured: bool = False
    """Whether the shipped maps know that it helps, with other releases beside it; it need not have been run here."""
    changes: Mapping[str, str] = {}
    """Releases by package, for a change of versions: all that come to be installed."""
    edits: tuple[str, ...] = ()
    """For a change of versions: unified diffs of the files of requirements that were named."""
    file: str = ""
    """The file that a source patch changes."""
    sha256: str = ""
    """Of that file as it was diagnosed."""

    @property
    def label(self) -> str:
        """Its kind, and which probes were run with it: ``patch, ok in all probes``."""
        return f"{self.kind}, {IN_WORDS[self.proven]}" if self.proven else self.kind


class Finding(msgspec.Struct, frozen=True):
    """A rule that fired."""

    rule: str
    name: str
    severity: Severity
    title: str
    detail: str
    """What happened, in a few sentences."""
    probes: tuple[str, ...]
    """Ids of the probes on which it fired."""
    culprit: Place | None = None
    """Who reads the attribute, or whose code did it."""
    passed_by: Place | None = None
    built: Place | None = None
    """The line that made the callable, where it is known."""
    callable: CallableInfo | None = None
    error: Error | None = None
    ruled_out: tuple[RuledOut, ...] = ()
    remedies: tuple[Remedy, ...] = ()
    impasse: str = ""
    """Where no release of the trainer works with the installed transformers: that, and which newest pair does."""
    searched: tuple[str, ...] = ()
    """What was looked for to fix it: kinds of remedies. Empty: nothing was."""
    unsearched: str = ""
    """What could not be tried just now, and why: one sentence."""
    accepted: Literal["", "ignored", "baseline"] = ""
    """Why it does not count for the exit status: its rule is ignored, or the baseline accepts it. Empty: it counts."""
    reason: str = ""
    """Then, what lets it pass: the option, or the reason that the baseline gives."""


class Accepted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A finding that a baseline accepts, told by what stays the same when lines move and releases come and go."""

    rule: str
    package: str
    """Owner of the culprit, empty where no package owns it."""
    file: str
    """Relative to the folder of packages, or to the project."""
    function: str
    code: str
    """The source line, without its number; the finding's title where it has no culprit."""
    checkpoint_functions: tuple[str, ...]
    """Those that it is accepted with. With another one it is a new finding."""
    engines: tuple[str, ...]
    """Where it was seen: it is gone once it is not found under any of these."""
    reason: str = ""
    """Why it is accepted, for people."""


class Gate(msgspec.Struct, frozen=True):
    """What was asked to count, and what came of it."""

    fail_on: FailOn
    status: int
    """The exit status: 0 nothing that counts, 1 findings, 3 could not be diagnosed."""
    summary: str
    """Why, in one sentence."""
    stale: tuple[Accepted, ...] = ()
    """Entries of the baseline for findings that are gone."""


class ProbeResult(msgspec.Struct, frozen=True):
    """One probe, as run and judged."""

    id: str
    model: str
    checkpoint_function: str
    engine: str
    calling_convention: str
    variant: str
    """``packed``, ``dropout`` and so on, or the setup that only some jobs have, such as ``lora``; empty for the usual step."""
    role: str
    """``subject`` counts for the verdict; ``control``, ``convention`` and ``advisory`` are evidence."""
    outcome: Outcome
    error: str | None
    """The error in one line, ``null`` when there was none."""
    evidence: Evidence
    rules: tuple[str, ...] = ()


class Unexpected(msgspec.Struct, frozen=True):
    """A usual step without an engine that ended otherwise than when the same files were measured."""

    function: str
    model: str
    stack: Mapping[str, str]
    """The releases of transformers and of the trainer, by their files."""
    known: Verdict
    """What the knowledge says."""
    here: Verdict
    """What came of it here."""
    rules: tuple[str, ...]
    """The rules that were broken: here, or when it was measured."""
    measured: str
    """When and with which torch it was measured, as the end of a clause."""


class Report(msgspec.Struct, frozen=True):
    """A finished diagnosis."""

    schema: str
    version: str
    """Of ckptdoctor."""
    verdict: Verdict
    summary: str
    """The verdict in one sentence, and what it was reached with."""
    environment: Environment
    probes: tuple[ProbeResult, ...]
    findings: tuple[Finding, ...]
    job: str = ""
    """The job that was probed, in one line; empty where it was the environment."""
    notes: tuple[str, ...] = ()
    """What the reader must know to weigh the verdict, e.g. what was judged on its forward only."""
    not_tried: tuple[str, ...] = ()
    """What the verdict does not cover though it could be tried, or a job may use it: engines, variants, parts of a job."""
    not_starting: tuple[str, ...] = ()
    """Trainers whose command ends when it starts, with these releases and as things are set: see the notes."""
    next_command: str = ""
    """The command that looks for what fixes the findings, where nothing was looked for."""
    unexpected: tuple[Unexpected, ...] = ()
    """Where what was run here differs from what was measured of the same files: a finding about ckptdoctor's knowledge."""
    applied: tuple[Remedy, ...] = ()
    """What ``ckptdoctor fix --apply`` changed in the environment before this diagnosis."""
    headline: str = ""
    """The verdict in the fewest words, to go with a list of what was run; empty where there is only ``summary``."""
    seconds: float = 0.0
    cached: bool = False
    gate: Gate | None = None
    """What counts for the exit status; the verdict is of the environment and knows nothing of it."""

    def with_notes(self, notes: Iterable[str]) -> Report:
        """The same with more notes."""
        return msgspec.structs.replace(self, notes=(*self.notes, *notes))

    def with_applied(self, applied: tuple[Remedy, ...]) -> Report:
        """The same with what was changed in the environment before it."""
        return msgspec.structs.replace(self, applied=applied)

    @property
    def status(self) -> ExitStatus:
        """The exit status: what the gate says, else what the verdict comes to."""
        return ExitStatus(self.gate.status) if self.gate else STATUS[self.verdict]
