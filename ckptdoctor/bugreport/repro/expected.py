"""What a script must end in where the fault is there."""

from __future__ import annotations

from dataclasses import dataclass

from ckptdoctor.model.evidence import Error, Evidence
from ckptdoctor.model.report import Finding, ProbeResult
from ckptdoctor.planning.options import OWN_MODEL
from ckptdoctor.rules import RULES
from ckptdoctor.store import locations
from ckptdoctor.words.wording import first_line, relative

HANGS = "it hangs"


@dataclass(frozen=True)
class Expected:
    """What a script ends in where the fault is there.

    Attributes:
        error: Type and first line of the message; for a silent fault those of the assertion, as far as they are known.
        file: Where it is raised, relative to the folder of packages; empty where that cannot be the same.
        line: The line there.
        death: For a step that kills or blocks its process: how.
    """

    error: str = ""
    file: str = ""
    line: int = 0
    death: str = ""

    @property
    def text(self) -> str:
        """In one line."""
        at = f" ({self.file}:{self.line})" if self.file else ""
        return self.error + at if self.error else self.death


def expect(finding: Finding, probe: ProbeResult, own: str) -> Expected | None:
    """What the script of a finding must end in; nothing where it has nothing to show.

    Args:
        finding: What is to be shown.
        probe: The probe that the script does again.
        own: The module in which the user's own checkpoint function travels along.
    """
    evidence, assertion = probe.evidence, RULES[finding.rule].assertion
    # What is asserted before the backward pass is seen before an error that may have ended it.
    is_first = assertion is not None and assertion.precedes_backward
    if evidence.ended == "raised" and evidence.error is not None and not is_first:
        return _of_error(evidence.error, probe, own)
    if evidence.ended in ("crashed", "timeout"):
        return Expected(death=HANGS if evidence.ended == "timeout" else evidence.why)
    return Expected(error=f"AssertionError: {assertion.message}") if assertion else None


def _of_error(error: Error, probe: ProbeResult, own: str) -> Expected:
    message = first_line(error.message)
    text = f"{error.type}: {message}" if message else error.type
    if not error.frames or error.refused_by is not None:  # the script makes that call, not Trainer's line
        return Expected(text)
    last, loaded = error.frames[-1], probe.evidence.loaded
    if last.file == probe.checkpoint_function.rpartition(":")[0] or (
        loaded and last.file == loaded.place.file and travels(probe.evidence)
    ):
        return Expected(text, f"{own}.py", last.line)
    # What our own model raises, or torch on its behalf, is raised elsewhere in the script's shorter one.
    if last.file.startswith(str(locations.probes())) or (probe.model == OWN_MODEL and last.package == "torch"):
        return Expected(text)
    return Expected(text, relative(last.file), last.line)


def travels(evidence: Evidence) -> bool:
    """Whether the checkpoint function is the user's own: in no package that others can install."""
    return evidence.loaded is not None and not evidence.loaded.place.package and evidence.loaded.how != "module only"
