"""The remedies for a finding, each tried before it is offered; the smallest change comes first."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple

import msgspec
from packaging.version import Version

from ckptdoctor import catalog
from ckptdoctor.model.report import Finding, Remedy
from ckptdoctor.remedies import deepspeed, proof, search, settings, source, versions
from ckptdoctor.remedies.candidates import Candidate, Newer, nothing_newer
from ckptdoctor.remedies.commands import commands
from ckptdoctor.remedies.context import RemedyContext
from ckptdoctor.remedies.newer import on_the_index
from ckptdoctor.remedies.proof import LacksModel, Untried
from ckptdoctor.remedies.proposal import Proposal
from ckptdoctor.remedies.search import Search
from ckptdoctor.remedies.trial import Trial
from ckptdoctor.rules import RULES, Case
from ckptdoctor.words.wording import listed

Offer = Callable[[Candidate], Remedy]
"""A candidate as a remedy, with its measurements."""

TRIES = 3
"""Releases with the same code that are tried before the search ends."""

LOOKS = 12
"""Releases with the same code that are considered: some do not exist for the target's Python."""

KINDS = ("version", "patch", "adapter", "setting")
"""Kinds of remedies, the smallest and most lasting change first."""


def find(finding: Finding, context: RemedyContext) -> Proposal:
    """The remedies for a finding, each run on this stack with the probes that failed and those that passed.

    Releases that cannot be fetched now are offered if they were measured, and are not marked as proven.
    """
    cases = context.found.cases_of(finding)
    found = releases(finding, cases, context).and_also(
        *source.find_proven(finding, cases, context), *_adapter(finding, cases, context), *settings.find(cases)
    )
    return found._replace(remedies=tuple(sorted(found.remedies, key=_weight)))


def _weight(remedy: Remedy) -> tuple[int, bool, bool, int]:
    """Sort key of a remedy: no broken pin before any, few packages before many; the rest keeps its order."""
    return KINDS.index(remedy.kind), not remedy.proven, bool(remedy.breaks), len(remedy.changes)


def releases(finding: Finding, cases: list[Case], context: RemedyContext) -> Proposal:
    """Changes of releases, each tried: measured ones, and releases from the index if none was measured."""
    with on_the_index(context.environment.python) as newer:
        if deepspeed.concerns(cases):
            return _deepspeed(finding, cases, context, newer)
        looked_for = search.search(cases, context.environment, context.edited, context.found.cases)
        return _versions(looked_for, finding, context, newer) if looked_for is not None else Proposal()


def likely(finding: Finding, cases: list[Case], context: RemedyContext) -> Proposal:
    """Releases that are known to work with this stack, without another run; if there are none, the likeliest, tried here.

    Other model families and the newest measured releases show what to try; the index is not asked.
    """
    if deepspeed.concerns(cases):
        known = deepspeed.candidates(cases, context, nothing_newer)[:1] if deepspeed.known(cases, context) else []
        if known:
            return Proposal(tuple(deepspeed.remedy(one, cases, context) for one in known))
        return _deepspeed(finding, cases, context, nothing_newer, tries=1)
    looked_for = search.search(cases, context.environment, context.edited, context.found.cases)
    if looked_for is None:
        return Proposal()
    known_here = versions.find(looked_for, context.plan.used)
    return known_here if known_here.remedies else _versions(looked_for, finding, context, nothing_newer, tries=2)


class _Tried(NamedTuple):
    """The first candidate that helps, if any, and the candidates that were tried before and do not help."""

    remedies: tuple[Remedy, ...] = ()
    without_success: tuple[Candidate, ...] = ()
    unsearched: str = ""


def _versions(
    looked_for: Search, finding: Finding, context: RemedyContext, newer: Newer, tries: int = TRIES
) -> Proposal:
    def first(candidates: Iterable[Candidate]) -> _Tried:
        return _first(candidates, lambda one: versions.remedy(one, looked_for), finding, context, tries)

    trainers = first(looked_for.trainer_releases(newer))
    # A guess costs a download of transformers, so none is tried if a release is known to help.
    models = first(looked_for.transformers_releases(None if trainers.remedies else newer))
    pair = _Tried() if trainers.remedies else _pair(models, looked_for, first)
    impasse = ""
    if not trainers.remedies:
        which = [one.changes[looked_for.package] for one in trainers.without_success]
        impasse = looked_for.impasse(_whole(pair.remedies or models.remedies, looked_for), which)
    unsearched = pair.unsearched or models.unsearched or trainers.unsearched
    return Proposal((*trainers.remedies, *models.remedies, *pair.remedies), impasse, unsearched)


def _deepspeed(
    finding: Finding, cases: list[Case], context: RemedyContext, newer: Newer, tries: int = TRIES
) -> Proposal:
    candidates = deepspeed.candidates(cases, context, newer)
    found = _first(candidates, lambda one: deepspeed.remedy(one, cases, context), finding, context, tries)
    impasse = ""
    if found.without_success and not found.remedies:
        names = listed([one.changes[deepspeed.PACKAGE] for one in found.without_success])
        impasse = f"The step also fails with every other release of deepspeed that was tried here: {names}."
    return Proposal(found.remedies, impasse, found.unsearched)


def _pair(models: _Tried, looked_for: Search, first: Callable[[Iterable[Candidate]], _Tried]) -> _Tried:
    """The newest pair, if it differs from the result of changing transformers alone."""
    newest = looked_for.newest_pair()
    reached = _whole(models.remedies, looked_for)
    return _Tried() if newest and reached == newest.changes else first(looked_for.other_pairs())


def _whole(found: Sequence[Remedy], looked_for: Search) -> dict[str, str] | None:
    """The pair of releases that a remedy results in."""
    installed = {"transformers": looked_for.transformers, looked_for.package: looked_for.trainer}
    return {name: found[0].changes.get(name, release) for name, release in installed.items()} if found else None


def _first(
    candidates: Iterable[Candidate], offer: Offer, finding: Finding, context: RemedyContext, tries: int
) -> _Tried:
    """The first candidate that helps; if none can be fetched now, one that is known to help."""
    tried: list[Candidate] = []
    lacking: list[Version] = []
    for candidate in list(candidates)[:LOOKS]:
        transformers = Version(candidate.changes.get("transformers", "0"))
        if any(transformers <= one for one in lacking if "transformers" in candidate.changes):
            continue  # a model is added once
        try:
            trial = proof.with_releases(candidate, finding, context)
        except LacksModel:
            lacking.append(transformers)
            continue
        except Untried as why:
            return _Tried(
                _untried(offer(candidate), str(why)),
                tuple(tried),
                f"{listed(candidate.requirements)} could not be tried: {why}",
            )
        if trial is None:
            continue
        if trial.helps(finding, context):
            return _Tried((release(offer(candidate), trial, finding, context, candidate.anew),), tuple(tried))
        tried.append(candidate)
        if len(tried) == tries:
            break
    return _Tried((), tuple(tried))


def _untried(made: Remedy, why: str) -> tuple[Remedy, ...]:
    """A remedy that could not be tried, if it was measured."""
    evidence = f"{made.evidence}; not tried here: {why}"
    return (msgspec.structs.replace(made, evidence=evidence),) if made.evidence else ()


def release(made: Remedy, trial: Trial, finding: Finding, context: RemedyContext, anew: Collection[str]) -> Remedy:
    """A change of releases that was tried, with all packages that were installed."""
    changes = dict(trial.changes or made.changes)
    names = [f"{name} {release}" for name, release in changes.items()]
    count = "one package changes" if len(names) == 1 else f"{len(names)} packages change"
    exact = [f"{name}=={release}" for name, release in changes.items()]
    whole = msgspec.structs.replace(
        made,
        cost=f"{count}: {listed(names, 6)}; no other package changes{trial.shortcomings(context)}",
        changes=changes,
        breaks=trial.breaks,
        commands=tuple(commands(exact, context.environment, anew)),
    )
    return trial.proves(whole, finding, "in an overlay", made.evidence)


def _adapter(finding: Finding, cases: list[Case], context: RemedyContext) -> list[Remedy]:
    """The no-touch way; it only works for models of transformers."""
    if not RULES[finding.rule].reads_callable or not cases:
        return []
    trial = proof.with_adapter(finding, context)
    if not trial.helps(finding, context):
        return []
    made = Remedy(
        kind="adapter",
        title="start the job with `ckptdoctor run`, which adapts the callable; no file changes",
        cost=f"required at every start of the job{trial.shortcomings(context)}",
        evidence="",
        commands=(f"ckptdoctor run -- {_start(cases, context)}",),
    )
    return [trial.proves(made, finding, "with the job started this way")]


def _start(cases: list[Case], context: RemedyContext) -> str:
    """The command that starts the job, if it is known."""
    from ckptdoctor.job.files import SCRIPTS

    trainers = [catalog.trainer_of(case.spec.function) for case in cases]
    starts = {trainer.start if trainer else "" for trainer in trainers}
    files = context.request.job
    if len(files) > 1:
        return "python train.py"  # a launcher, or settings, stand beside the job
    job = shlex.quote(files[0]) if files else "JOB.yaml"
    if files and files[0].endswith(SCRIPTS):
        return f"bash {job}"
    return f"{next(iter(starts))} {job}" if len(starts) == 1 and any(starts) else "python train.py"
