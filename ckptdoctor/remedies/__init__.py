"""What fixes a finding: only what is known to work with this very stack, or was tried on it, the smallest change first."""

from __future__ import annotations

import importlib
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from ckptdoctor.model.evidence import Environment
from ckptdoctor.model.report import Finding, Remedy
from ckptdoctor.rules import NOT_DIAGNOSED

if TYPE_CHECKING:
    from ckptdoctor.remedies.proof import Ground


def find(ground: Ground, verify: bool) -> None:
    """Look for what fixes each finding, most practical first, and judge it by the whole stack.

    A warning is not looked into, and what could not be judged only where the cause is plain or needs DeepSpeed.

    Args:
        ground: The target and all that the probes amount to; its findings are filled in.
        verify: Try each remedy, and drop what does not help.
    """
    from ckptdoctor.remedies import together

    for finding in ground.found.findings:
        if finding.severity == "error":
            finding.remedies = _find(finding, ground, verify)
    together.weigh(ground)


def _find(finding: Finding, ground: Ground, verify: bool) -> list[Remedy]:
    from ckptdoctor.remedies import deepspeed, missing, proven, settings, source

    cases = ground.found.cases_of(finding)
    if finding.rule == NOT_DIAGNOSED:
        lacking = missing.find(finding, cases, ground)
        if lacking or not deepspeed.concerns(cases):
            return lacking
        finding.searched = ["releases of deepspeed"]
        return proven.releases(finding, cases, ground) if verify else proven.likely(finding, cases, ground)
    finding.searched = ["releases", "a patch", *(["the no-touch way"] if verify else []), "settings"]
    if verify:
        return proven.find(finding, ground)
    return [
        *proven.likely(finding, cases, ground),
        *source.find(finding, cases, ground.environment, ground.session),
        *settings.find(cases),
    ]


def warm_up() -> None:
    """Import what a patch is made with while the probes run; it takes as long as several of them."""
    with suppress(RuntimeError):  # where no more threads can be started it waits until it is needed
        threading.Thread(target=importlib.import_module, args=("ckptdoctor.remedies.patch",), daemon=True).start()


def unmet_pins(environment: Environment) -> list[str]:
    """Declared requirements between packages of the stack that the installed versions do not meet, as sentences."""
    from ckptdoctor.model.pins import unmet

    return [f"{line}." for line in unmet(environment)]


def edited(ground: Ground) -> list[str]:
    """Packages that are not as released, where something was found: what is known of the release is not offered."""
    if not any(one.severity == "error" for one in ground.found.findings):
        return []
    return [
        f"{name} {ground.environment.version(name)} is not as released: {why}. What is known of that release is not used."
        for name, why in ground.edited.items()
    ]
