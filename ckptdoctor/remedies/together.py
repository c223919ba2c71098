"""Several findings at once: what each remedy leaves broken, and the change of releases that leaves nothing."""

from __future__ import annotations

import msgspec

from ckptdoctor.model.report import Finding, Remedy
from ckptdoctor.planning.plan import first_of_all
from ckptdoctor.remedies import proof, proven, versions
from ckptdoctor.remedies.proof import Ground
from ckptdoctor.remedies.versions import Candidate
from ckptdoctor.words.wording import listed

TRIED = "tried here"
"""How the evidence of a remedy begins that was run with all that was probed."""


def weigh(ground: Ground) -> None:
    """Judge remedies by the whole stack: a remedy that leaves another fault says so, after one that leaves none.

    Args:
        ground: Its findings have their remedies, each found for itself.
    """
    errors = [one for one in ground.found.findings if one.severity == "error"]
    if len(errors) < 2:
        return
    whole = _whole(errors, ground)
    left = [(remedy, _left(remedy, one, errors, ground)) for one in errors for remedy in one.remedies]
    for remedy, others in left:
        if others:
            # Only what was run with all probes is known to leave the fault.
            known = "still failing with it" if remedy.evidence.startswith(TRIED) else "not known to fix"
            remedy.cost += f"; {known}: {listed(others)}"
    if whole is not None:
        for one in errors:
            one.remedies = [msgspec.structs.replace(whole), *one.remedies]


def _left(remedy: Remedy, finding: Finding, errors: list[Finding], ground: Ground) -> list[str]:
    """The other faults that a remedy is not known to fix, each with its rule."""
    others = [one for one in errors if one is not finding and not _mends(remedy, one, ground)]
    return list(dict.fromkeys(f"{one.rule} ({one.title})" for one in others))


def _mends(remedy: Remedy, finding: Finding, ground: Ground) -> bool:
    if any(one.kind == remedy.kind and one.title == remedy.title for one in finding.remedies):
        return True
    cases = ground.found.cases_of(finding)
    must = first_of_all(case.spec.function for case in cases)
    return {case.spec.id for case in cases if case.spec.function in must} <= set(remedy.tried)


def _whole(errors: list[Finding], ground: Ground) -> Remedy | None:
    """The first change of releases of each finding, together, once it was run and no fault was left."""
    first = [next((remedy for remedy in one.remedies if remedy.kind == "version"), None) for one in errors]
    changes: dict[str, str] = {}
    for remedy in first:
        if remedy is None or any(changes.get(name, release) != release for name, release in remedy.changes.items()):
            return None
        changes |= remedy.changes
    if first[0] is not None and all(_mends(first[0], one, ground) for one in errors):
        return None
    environment = ground.environment
    anew = frozenset(name for name, release in changes.items() if environment.version(name) == release)
    candidate = Candidate(changes, anew=anew)
    everything = msgspec.structs.replace(
        errors[0], probes=list(dict.fromkeys(probe for one in errors for probe in one.probes))
    )
    try:
        trial = proof.with_releases(candidate, everything, ground)
    except (proof.Untried, proof.LacksModel) as why:
        for one in errors:
            one.unsearched = one.unsearched or f"{listed(candidate.requirements)} were not tried together: {why}"
        return None
    if trial is None or trial.open or not trial.helps(everything, ground):
        return None
    made = proven.release(versions.bare(candidate, environment), trial, ground, anew)
    made.evidence += f"; {listed(sorted({one.rule for one in errors}))} are gone, and nothing else fails"
    return made
