"""A source patch to the checkpoint function, offered once probes with the patched file have passed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ckptdoctor.environment.session import Session
from ckptdoctor.model.evidence import Environment, Evidence, Spec
from ckptdoctor.model.lanes import FULL_STACK, WITHOUT_DEEPSPEED
from ckptdoctor.model.report import Finding, Remedy
from ckptdoctor.planning.plan import first_of_all, lane_of, shares_entry
from ckptdoctor.rules import RULES, Case
from ckptdoctor.rules.common.case import works
from ckptdoctor.words.wording import listed, owner, stood_in

TRIED = ("none", "zero3")
"""Engines under which a patch is tried: without one, and the one that touches a model the most."""


class Proposal(NamedTuple):
    """A patch that was made, and not tried yet."""

    file: Path
    source: str
    patched: str
    functions: tuple[str, ...]
    """The failing functions that the file defines."""


def propose(finding: Finding, cases: list[Case]) -> Proposal | None:
    """The patch to the file in which the attribute is read, if one can be made."""
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
    return Proposal(file, source, patched, tuple(functions)) if patched is not None else None


def find(finding: Finding, cases: list[Case], environment: Environment, session: Session) -> list[Remedy]:
    """The patch to the file in which the attribute is read, if it can be made and helps."""
    proposal = propose(finding, cases)
    if proposal is None:
        return []
    specs = _specs([case for case in cases if case.spec.function in proposal.functions])
    tried = {one.id: one for one in _try(proposal.patched, proposal.file, specs, session)}
    fixed = [spec for spec in specs if works(tried[spec.id])]
    failing = {spec.function for spec in specs if spec not in fixed}
    if failing & first_of_all(spec.function for spec in specs):
        return []
    without_gpu = stood_in(spec.function for spec in fixed if tried[spec.id].forward_only)
    made = remedy(proposal, finding, environment, sorted(failing))
    made.evidence = f"the patched file passed here{without_gpu}: {listed([spec.id for spec in fixed], 3)}"
    made.verified, made.tried = True, [spec.id for spec in fixed]
    return [made]


def remedy(proposal: Proposal, finding: Finding, environment: Environment, left: Sequence[str]) -> Remedy:
    """A patch as it is offered.

    Args:
        proposal: The patch.
        finding: What it fixes.
        environment: The target.
        left: Functions that it does not fix.
    """
    from ckptdoctor.remedies.patch import diff

    name = owner(finding.culprit, proposal.file.name)
    not_fixed = f"; still failing: {listed(left)}" if left else ""
    return Remedy(
        kind="patch",
        title=f"patch {name} to find the layer in whatever callable it is given",
        cost=f"a changed file in the environment, lost at the next reinstall{not_fixed}",
        evidence="",
        diff=diff(proposal.source, proposal.patched, _label(proposal.file, environment)),
        file=str(proposal.file),
        sha256=hashlib.sha256(proposal.source.encode()).hexdigest(),
    )


def _try(patched: str, file: Path, specs: list[Spec], session: Session) -> list[Evidence]:
    """Run the failing probes again with the patched file in place of the installed one."""
    copy = session.write(file.name, patched)
    lanes: dict[tuple[str, ...], list[Spec]] = {WITHOUT_DEEPSPEED: [], FULL_STACK: []}
    for spec in specs:
        lanes[lane_of(spec.function, spec.engine)].append(spec)
    return session.examine(lanes, {spec.function: str(copy) for spec in specs})


def _specs(cases: list[Case]) -> list[Spec]:
    return [case.spec for case in cases if _is_tried(case.spec)] or [cases[0].spec]


def _is_tried(spec: Spec) -> bool:
    """Whether a probe is run again; what shares its entry with a trainer's first function is, without an engine."""
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
