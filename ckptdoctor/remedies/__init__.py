"""Remedies for findings: each is known to work with this stack or was tried on it; the smallest change comes first."""

from __future__ import annotations

import importlib
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from ckptdoctor.model.evidence import Environment
from ckptdoctor.model.report import Finding
from ckptdoctor.rules import NOT_DIAGNOSED

if TYPE_CHECKING:
    from ckptdoctor.remedies.context import RemedyContext


def find(context: RemedyContext, verify: bool) -> tuple[Finding, ...]:
    """Look for remedies for each finding, most practical first, and judge them by the whole stack.

    Warnings get only settings that probes of this run show to work. ``NOT_DIAGNOSED`` gets remedies only if the cause is clear
    or needs DeepSpeed.

    Args:
        context: The target and the results of its probes.
        verify: Try each remedy, and drop remedies that do not help.

    Returns:
        The findings with their remedies.
    """
    from ckptdoctor.remedies import together

    found = [_find(one, context, verify) for one in context.found.findings]
    return together.weigh(found, context)


def _find(finding: Finding, context: RemedyContext, verify: bool) -> Finding:
    from ckptdoctor.remedies import deepspeed, missing, proven, settings, source
    from ckptdoctor.remedies.proposal import Proposal

    cases = context.found.cases_of(finding)
    if finding.severity != "error":
        proposal = Proposal(tuple(settings.find(cases)))
        return proposal.attached_to(finding, ("settings",)) if proposal.remedies else finding
    if finding.rule == NOT_DIAGNOSED:
        name = missing.module(cases)
        lacking = missing.find(name, finding, cases, context) if name else Proposal()
        if lacking.remedies or not deepspeed.concerns(cases):
            return lacking.attached_to(finding, (f"a package or folder with the module {name}",) if name else ())
        proposal = proven.releases(finding, cases, context) if verify else proven.likely(finding, cases, context)
        unsearched = proposal.unsearched or lacking.unsearched
        return proposal._replace(unsearched=unsearched).attached_to(finding, ("releases of deepspeed",))
    if verify:
        searched = ("releases", "a patch", "the no-touch way", "settings")
        return proven.find(finding, context).attached_to(finding, searched)
    changes = settings.find(cases)
    if finding.culprit is None and any(one.proven for one in changes):
        # No package's code is to blame, so that no other release of one can be the answer.
        return Proposal(tuple(changes)).attached_to(finding, ("settings",))
    proposal = proven.likely(finding, cases, context).and_also(*source.find(finding, cases, context), *changes)
    return proposal.attached_to(finding, ("releases", "a patch", "settings"))


def warm_up() -> None:
    """Import the patch library while the probes run: the import takes as long as several probes."""
    with suppress(RuntimeError):  # if no more threads can be started, the import happens when it is needed
        threading.Thread(target=importlib.import_module, args=("ckptdoctor.remedies.patch",), daemon=True).start()


def unmet_pins(environment: Environment) -> list[str]:
    """Declared requirements between packages of the stack that the installed versions do not meet, as sentences."""
    from ckptdoctor.model.pins import unmet

    return [f"{line}." for line in unmet(environment)]


def edited(context: RemedyContext) -> list[str]:
    """Notes on packages that differ from their release: the measurements of the release do not apply to them."""
    if not any(one.severity == "error" for one in context.found.findings):
        return []
    return [
        f"{name} {context.environment.version(name)} differs from its release: {why}. Measurements of the release do not count."
        for name, why in context.edited.items()
    ]
