"""What mends a finding: only what is known to work with this very stack, or was tried on it, the smallest change first."""

from __future__ import annotations

import importlib
import threading
from typing import TYPE_CHECKING

from ckptdoctor.evidence import Environment
from ckptdoctor.report import Finding, Remedy

if TYPE_CHECKING:
    from ckptdoctor.remedies.proof import Ground


def find(finding: Finding, ground: Ground, verify: bool) -> list[Remedy]:
    """The remedies for a finding, most practical first.

    Args:
        finding: What is to be mended; told where no release can.
        ground: The target and all that the probes amount to.
        verify: Try each, and drop what does not help.
    """
    if finding.rule == "CKPT900" or finding.severity != "error":
        return []
    from ckptdoctor.remedies import proven, settings, source, versions

    if verify:
        return proven.find(finding, ground)
    cases = ground.found.cases_of(finding)
    return [
        *versions.find(finding, cases, ground.environment),
        *source.find(finding, cases, ground.environment, ground.patient),
        *settings.find(cases),
    ]


def warm_up() -> None:
    """Import what a patch is made with while the probes run; it takes as long as several of them."""
    threading.Thread(target=importlib.import_module, args=("ckptdoctor.remedies.patch",), daemon=True).start()


def unmet_pins(environment: Environment) -> list[str]:
    """Declared requirements between packages of the stack that the installed versions do not meet, as sentences."""
    from ckptdoctor.remedies.pins import unmet

    return [f"{line}." for line in unmet(environment)]
