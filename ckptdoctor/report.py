"""What a diagnosis ends in: the report that every output format prints."""

from __future__ import annotations

from typing import Literal

import msgspec

from ckptdoctor.evidence import Environment, Error, Evidence, Makeup, Place

Verdict = Literal["ok", "fail", "error"]
Severity = Literal["error", "warning", "note"]
Outcome = Literal["ok", "triggered", "failed", "skipped", "crashed", "timeout"]

SCHEMA = "ckptdoctor/report/1"


class Innocent(msgspec.Struct):
    """A package that a finding clears, and the runs that clear it."""

    package: str
    version: str
    reason: str
    probes: list[str]


class Remedy(msgspec.Struct):
    """A change that makes a finding go away."""

    kind: Literal["version", "patch", "setting"]
    title: str
    """What to do, in one line."""
    cost: str
    evidence: str
    """How it is known to help."""
    commands: list[str] = []
    diff: str = ""
    """A unified diff, for a source patch."""
    breaks: list[str] = []
    """Declared pins that it breaks, e.g. ``llamafactory 0.9.2 requires transformers<=4.49.0``."""
    verified: bool = False
    """Probes with it applied were run on this very stack and were ok."""


class Finding(msgspec.Struct):
    """A rule that fired."""

    rule: str
    name: str
    severity: Severity
    title: str
    detail: str
    """What happened, in a few sentences."""
    probes: list[str]
    """Ids of the probes on which it fired."""
    culprit: Place | None = None
    """Who reads the attribute, or whose code did it."""
    handed_over_by: Place | None = None
    callable: Makeup | None = None
    error: Error | None = None
    innocent: list[Innocent] = []
    remedies: list[Remedy] = []


class ProbeResult(msgspec.Struct):
    """One probe, as run and judged."""

    id: str
    model: str
    checkpoint_function: str
    engine: str
    calling_convention: str
    variant: str
    """``packed``, ``dropout`` or ``frozen``; empty for the usual step."""
    role: str
    """``subject`` counts for the verdict; ``control``, ``convention`` and ``advisory`` are evidence."""
    outcome: Outcome
    error: str | None
    """The error in one line, ``null`` when there was none."""
    evidence: Evidence
    rules: list[str] = []


class Report(msgspec.Struct):
    """A finished diagnosis."""

    schema: str
    version: str
    """Of ckptdoctor."""
    verdict: Verdict
    summary: str
    """The verdict in one sentence."""
    environment: Environment
    probes: list[ProbeResult]
    findings: list[Finding]
    notes: list[str] = []
    """What the reader must know to weigh the verdict, e.g. what was judged on its forward only."""
    seconds: float = 0.0
    cached: bool = False
