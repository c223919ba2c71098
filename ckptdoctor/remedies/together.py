"""Several findings at once: what each remedy does not fix, and the change of releases that fixes all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from ckptdoctor.model.report import Finding, Remedy
from ckptdoctor.planning.options import first_of_all
from ckptdoctor.remedies import proof, proven, versions
from ckptdoctor.remedies.candidates import Candidate
from ckptdoctor.remedies.context import RemedyContext
from ckptdoctor.words.wording import listed


def weigh(found: Sequence[Finding], context: RemedyContext) -> tuple[Finding, ...]:
    """Judge remedies by the whole stack. A remedy that leaves another fault says so, and comes after one that leaves none.

    Args:
        found: The findings, each with its own remedies.
        context: The context of the findings.
    """
    errors = [one for one in found if one.severity == "error"]
    if len(errors) < 2:
        return tuple(found)
    whole = _whole(errors, context)
    return tuple(_weighed(one, errors, whole, context) if one.severity == "error" else one for one in found)


class _Whole(NamedTuple):
    """The one change of releases that leaves no fault, where there is one."""

    remedies: tuple[Remedy, ...] = ()
    unsearched: str = ""


def _weighed(finding: Finding, errors: Sequence[Finding], whole: _Whole, context: RemedyContext) -> Finding:
    own = [_with_left(remedy, finding, errors, context) for remedy in finding.remedies]
    unsearched = finding.unsearched or whole.unsearched
    return msgspec.structs.replace(finding, remedies=(*whole.remedies, *own), unsearched=unsearched)


def _with_left(remedy: Remedy, finding: Finding, errors: Sequence[Finding], context: RemedyContext) -> Remedy:
    """The remedy; its cost names other faults that it is not known to fix, each with its rule."""
    others = [one for one in errors if one is not finding and not _fixes(remedy, one, context)]
    left = list(dict.fromkeys(f"{one.rule} ({one.title})" for one in others))
    if not left:
        return remedy
    # Only a remedy that was tried with all probes is known to leave the fault.
    known = "still failing with it" if remedy.proven == "all" else "not known to fix"
    return msgspec.structs.replace(remedy, cost=f"{remedy.cost}; {known}: {listed(left)}")


def _fixes(remedy: Remedy, finding: Finding, context: RemedyContext) -> bool:
    if any(one.kind == remedy.kind and one.title == remedy.title for one in finding.remedies):
        return True
    cases = context.found.cases_of(finding)
    must = first_of_all(case.spec.function for case in cases)
    return {case.spec.id for case in cases if case.spec.function in must} <= set(remedy.tried)


def _whole(errors: Sequence[Finding], context: RemedyContext) -> _Whole:
    """The first change of releases of each finding, all together, if a trial left no fault."""
    first = [next((remedy for remedy in one.remedies if remedy.kind == "version"), None) for one in errors]
    changes: dict[str, str] = {}
    for remedy in first:
        if remedy is None or any(changes.get(name, release) != release for name, release in remedy.changes.items()):
            return _Whole()
        changes |= remedy.changes
    if first[0] is not None and all(_fixes(first[0], one, context) for one in errors):
        return _Whole()
    environment = context.environment
    anew = frozenset(name for name, release in changes.items() if environment.version(name) == release)
    candidate = Candidate(changes, anew=anew)
    probes = dict.fromkeys(probe for one in errors for probe in one.probes)
    everything = msgspec.structs.replace(errors[0], probes=tuple(probes))
    try:
        trial = proof.with_releases(candidate, everything, context)
    except (proof.Untried, proof.LacksModel) as why:
        return _Whole(unsearched=f"{listed(candidate.requirements)} were not tried together: {why}")
    if trial is None or trial.open or not trial.helps(everything, context):
        return _Whole()
    made = proven.release(versions.bare(candidate, environment), trial, everything, context, anew)
    gone = f"{listed(sorted({one.rule for one in errors}))} are fixed, and nothing else fails"
    return _Whole((msgspec.structs.replace(made, evidence=f"{made.evidence}; {gone}"),))
