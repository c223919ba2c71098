"""A source patch to the checkpoint function, offered once probes with the patched file have passed."""

from __future__ import annotations

import hashlib
import os
import shlex
from pathlib import Path
from typing import NamedTuple

import msgspec

from ckptdoctor.model.evidence import Environment, Spec
from ckptdoctor.model.report import Finding, Remedy
from ckptdoctor.planning.options import shares_entry
from ckptdoctor.planning.plan import Planned
from ckptdoctor.remedies import proof
from ckptdoctor.remedies.context import RemedyContext
from ckptdoctor.remedies.trial import Trial
from ckptdoctor.rules import RULES, Case
from ckptdoctor.words.wording import owner

TRIED = ("none", "zero3")
"""Engines under which a patch is tried: without one, and the one that touches a model the most."""


class Patch(NamedTuple):
    """A patch that was not tried yet."""

    file: Path
    source: str
    patched: str
    functions: tuple[str, ...]
    """The failing functions that the file defines."""


def propose(finding: Finding, cases: list[Case]) -> Patch | None:
    """The patch to the file that reads the attribute, if a patch can be made."""
    if not RULES[finding.rule].reads_callable or finding.culprit is None:
        return None
    file = Path(finding.culprit.file)
    functions = sorted(
        {case.spec.function for case in cases if case.function is not None and case.function.file == str(file)}
    )
    source = _read(file)
    if not functions or source is None:
        return None
    from ckptdoctor.remedies.patch import patch

    patched = patch(source, finding.culprit.line)
    return Patch(file, source, patched, tuple(functions)) if patched is not None else None


def find(finding: Finding, cases: list[Case], context: RemedyContext) -> list[Remedy]:
    """The patch to the file that reads the attribute, if it can be made and helps on the failing probes."""
    proposal = propose(finding, cases)
    if proposal is None:
        return []
    again = _again([case for case in cases if case.spec.function in proposal.functions])
    copy = context.session.write(proposal.file.name, proposal.patched)
    trial = proof.on_failing(str(proposal.file), copy, finding, context, again)
    return [remedy(proposal, finding, trial, context)] if trial.helps(finding, context) else []


def find_proven(finding: Finding, cases: list[Case], context: RemedyContext) -> list[Remedy]:
    """The same patch, if it helps on all probes, with the command that applies it."""
    proposal = propose(finding, cases)
    if proposal is None:
        return []
    copy = context.session.write(proposal.file.name, proposal.patched)
    trial = proof.with_file(str(proposal.file), copy, finding, context)
    if not trial.helps(finding, context):
        return []
    made = remedy(proposal, finding, trial, context)
    if context.target.overlay is None or context.target.overlay not in proposal.file.parents:
        made = msgspec.structs.replace(made, commands=(f"ckptdoctor fix --apply{_target(context)}",))
    return [made]


def _target(context: RemedyContext) -> str:
    """The options that name what was diagnosed."""
    request = context.request
    python = [("--python", request.python)] if request.python else []
    jobs = [("--job", file) for file in request.job]
    pairs = [*python, *jobs, *(("--checkpoint-fn", name) for name in request.options.functions)]
    return "".join(f" {option} {shlex.quote(value)}" for option, value in pairs)


def remedy(proposal: Patch, finding: Finding, trial: Trial, context: RemedyContext) -> Remedy:
    """A patch as it is offered.

    Args:
        proposal: The patch.
        finding: What it fixes.
        trial: The trial of it.
        context: What was diagnosed.
    """
    from ckptdoctor.remedies.patch import diff

    name = owner(finding.culprit, proposal.file.name)
    made = Remedy(
        kind="patch",
        title=f"patch {name} to find the layer in any callable",
        cost=f"a changed file in the environment, lost at the next reinstall{trial.shortcomings(context)}",
        evidence="",
        diff=diff(proposal.source, proposal.patched, _label(proposal.file, context.environment)),
        file=str(proposal.file),
        sha256=hashlib.sha256(proposal.source.encode()).hexdigest(),
    )
    return trial.proves(made, finding, "with the patched file in place of the installed one")


def _again(cases: list[Case]) -> list[Planned]:
    return [case.planned for case in cases if _is_tried(case.spec)] or [cases[0].planned]


def _is_tried(spec: Spec) -> bool:
    """Whether a probe is run again; a variant of a trainer's first function only without an engine."""
    return not spec.variant and spec.engine in (TRIED[:1] if shares_entry(spec.function) else TRIED)


def _read(file: Path) -> str | None:
    """The source with its line endings as they are."""
    try:
        return file.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _label(file: Path, environment: Environment) -> str:
    """The file relative to the folder of packages it is installed in, for ``patch -p1`` there."""
    roots = [root for root in environment.paths if str(file).startswith(root + os.sep)]
    return os.path.relpath(file, max(roots, key=len)) if roots else file.name
