"""What mends a finding: only what is known to work with this very stack, the smallest change first."""

from __future__ import annotations

import importlib
import threading
from typing import TYPE_CHECKING

from ckptdoctor.evidence import Environment
from ckptdoctor.report import Finding, Remedy
from ckptdoctor.target.patient import Patient

if TYPE_CHECKING:
    from ckptdoctor.findings import Found


def find(finding: Finding, environment: Environment, found: Found, patient: Patient) -> list[Remedy]:
    """The remedies for a finding, most practical first.

    Args:
        finding: What is to be mended.
        environment: The target.
        found: All that the probes amount to.
        patient: The target, still at hand to try a remedy in.
    """
    if finding.rule == "CKPT900" or finding.severity != "error":
        return []
    from ckptdoctor.remedies import settings, source, versions

    cases = found.cases_of(finding)
    return [
        *versions.find(finding, cases, environment),
        *source.find(finding, cases, environment, patient),
        *settings.find(cases),
    ]


def warm_up() -> None:
    """Import what a patch is made with while the probes run; it takes as long as several of them."""
    threading.Thread(target=importlib.import_module, args=("ckptdoctor.remedies.patch",), daemon=True).start()


def unmet_pins(environment: Environment) -> list[str]:
    """Declared requirements between packages of the stack that the installed versions do not meet, as sentences."""
    from ckptdoctor.remedies.versions import unmet

    return [f"{line}." for line in unmet(environment)]
