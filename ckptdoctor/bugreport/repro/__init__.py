"""From a finding to a script that shows the fault with the libraries alone, and what such a script must end in."""

from __future__ import annotations

from dataclasses import dataclass, field

from ckptdoctor import catalog
from ckptdoctor.bugreport.repro.draft import Draft, left_out
from ckptdoctor.bugreport.repro.expected import HANGS, Expected, expect
from ckptdoctor.bugreport.repro.script import write
from ckptdoctor.model.report import Finding, ProbeResult, Report
from ckptdoctor.planning.options import OWN_MODEL, WRAPPER, shares_entry

__all__ = ["HANGS", "LIMIT", "OWN_FILE", "Expected", "Repro", "make", "why_none"]

LIMIT = 3
"""Findings that get a script; the first one tells a maintainer most."""

OWN_FILE = "own_function"
"""The module in which the user's own checkpoint function travels along."""


@dataclass(frozen=True)
class Repro:
    """A script and what travels with it.

    Attributes:
        source: The script.
        expected: What it must end in.
        probe: The probe that it does again.
        beside: Files that must lie beside it, by name.
        left_out: Settings of a job's own that the probe had and the script has not.
    """

    source: str
    expected: Expected
    probe: str
    beside: dict[str, str] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


def make(report: Report, number: int, finding: Finding, name: str) -> Repro | None:
    """The script for a finding; nothing for one that has nothing to show.

    Args:
        report: The whole diagnosis.
        number: From 0, among the scripts of a bundle.
        finding: What is to be shown.
        name: The script's file name.
    """
    probe = _simplest(report, finding)
    if probe is None:
        return None
    own = f"{OWN_FILE}_{number + 1}" if number else OWN_FILE
    expected = expect(finding, probe, own)
    if expected is None or _why_none(probe, expected):
        return None
    draft = Draft(report.environment, finding, probe, expected, own)
    source = write(draft, report.version, name)
    return Repro(source, expected, probe.id, draft.beside, left_out(probe))


def why_none(report: Report, finding: Finding) -> str:
    """Why a finding has no script, as the end of a sentence; empty where it has one."""
    probe = _simplest(report, finding)
    expected = expect(finding, probe, OWN_FILE) if probe else None
    if probe is None or expected is None:
        return "no assertion in a few lines shows it"
    return _why_none(probe, expected)


def _why_none(probe: ProbeResult, expected: Expected) -> str:
    """Why no script does a probe again; empty where one does."""
    if probe.checkpoint_function == WRAPPER or probe.evidence.wrapper is not None:
        return "no script writes FSDP's own activation checkpointing"
    error = probe.evidence.error
    if error is not None and error.refused_by is not None and probe.evidence.trainers_call is None:
        return "no script makes Trainer's call after a file of your own has replaced a method"
    engine = catalog.engines().get(probe.engine)
    is_whole = engine is not None and engine.record.options.get(engine.name, {}).get("each_layer") is False
    if is_whole and probe.model == OWN_MODEL:
        return f"under {probe.engine}, the error depends on the rank and on the sizes of the model"
    if engine is None or not expected.error.startswith("AssertionError: "):
        return ""
    if not engine.record.reproduction.gradient or probe.engine in engine.record.precision:
        return f"under {engine.name}, a few lines cannot compare the step with one without checkpointing"
    return ""


def _simplest(report: Report, finding: Finding) -> ProbeResult | None:
    """The probe of a finding with the least around it: without engine and without a variant, where it fired there."""
    probes = [probe for probe in report.probes if probe.id in finding.probes]
    return min(
        probes,
        key=lambda one: (
            bool(left_out(one)),
            bool(one.variant),
            shares_entry(one.checkpoint_function),
            _weight(one.engine),
            len(one.id),
        ),
        default=None,
    )


def _weight(engine: str) -> int:
    engines = list(catalog.engines())
    return engines.index(engine) if engine in engines else len(engines)
