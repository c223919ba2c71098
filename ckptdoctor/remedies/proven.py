"""The remedies for a finding, each tried before it is offered, what changes least first."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from ckptdoctor import catalog
from ckptdoctor.environment import pip_settings
from ckptdoctor.errors import DoctorError
from ckptdoctor.model.report import Finding, Remedy
from ckptdoctor.remedies import deepspeed, proof, settings, source, versions
from ckptdoctor.remedies.proof import Ground, LacksModel, Trial, Untried
from ckptdoctor.remedies.versions import Candidate, Newer, Search, nothing_newer
from ckptdoctor.rules import RULES, Case
from ckptdoctor.words.wording import listed, stood_in

Offer = Callable[[Candidate], Remedy]
"""A candidate as it is offered, with what is known of it."""

TRIES = 3
"""Releases with the same code that are run before the search for one that helps is given up."""

LOOKS = 12
"""Releases with the same code that are looked for: of some there is none for the target's Python."""

KINDS = ("version", "patch", "adapter", "setting")
"""By how little they change, and how long they last."""


def find(finding: Finding, ground: Ground) -> list[Remedy]:
    """The remedies for a finding, each run on this very stack with what had failed and what had passed.

    Releases that cannot be fetched just now are offered as far as they are known, and are not marked as verified.
    """
    cases = ground.found.cases_of(finding)
    found = [
        *releases(finding, cases, ground),
        *_patch(finding, cases, ground),
        *_adapter(finding, cases, ground),
        *settings.find(cases),
    ]
    return sorted(found, key=_weight)


def _weight(remedy: Remedy) -> tuple[int, bool, bool, int]:
    """How much a remedy changes: no broken pin before any, few packages before many; the rest keeps its order."""
    return KINDS.index(remedy.kind), not remedy.verified, bool(remedy.breaks), len(remedy.changes)


def releases(finding: Finding, cases: list[Case], ground: Ground) -> list[Remedy]:
    """Changes of releases, each run: from what is known, and from the index where nothing is."""
    with _index(ground) as newer:
        if deepspeed.concerns(cases):
            return _deepspeed(finding, cases, ground, newer)
        looked_for = versions.search(cases, ground.environment, ground.edited, ground.found.cases)
        return _versions(looked_for, finding, ground, newer) if looked_for is not None else []


def likely(finding: Finding, cases: list[Case], ground: Ground) -> list[Remedy]:
    """What is known to work with this very stack, not run again; where nothing is, the likeliest releases, run.

    What to try is told by other model families and by the newest releases that are known; the index is not asked.
    """
    if deepspeed.concerns(cases):
        known = deepspeed.candidates(cases, ground, nothing_newer)[:1] if deepspeed.known(cases, ground) else []
        return [deepspeed.remedy(one, cases, ground) for one in known] or _deepspeed(
            finding, cases, ground, nothing_newer, tries=1
        )
    looked_for = versions.search(cases, ground.environment, ground.edited, ground.found.cases)
    if looked_for is None:
        return []
    return versions.find(finding, looked_for) or _versions(looked_for, finding, ground, nothing_newer, tries=2)


def _versions(looked_for: Search, finding: Finding, ground: Ground, newer: Newer, tries: int = TRIES) -> list[Remedy]:
    def offer(candidate: Candidate) -> Remedy:
        return versions.remedy(candidate, looked_for)

    tried: list[Candidate] = []
    trainers = _first(looked_for.trainer_releases(newer), offer, finding, ground, tries, tried)
    # A guess costs a download of transformers: it is not made where something is known to help.
    models = looked_for.transformers_releases(None if trainers else newer)
    models_ = _first(models, offer, finding, ground, tries)
    pair = [] if trainers else _pair(models_, looked_for, offer, finding, ground, tries)
    if not trainers:
        which = [one.changes[looked_for.package] for one in tried]
        finding.impasse = looked_for.impasse(_whole(pair or models_, looked_for), which)
    return [*trainers, *models_, *pair]


def _deepspeed(finding: Finding, cases: list[Case], ground: Ground, newer: Newer, tries: int = TRIES) -> list[Remedy]:
    def offer(candidate: Candidate) -> Remedy:
        return deepspeed.remedy(candidate, cases, ground)

    tried: list[Candidate] = []
    found = _first(deepspeed.candidates(cases, ground, newer), offer, finding, ground, tries, tried)
    if tried and not found:
        names = listed([one.changes[deepspeed.PACKAGE] for one in tried])
        finding.impasse = f"The same happens with every other release of deepspeed that was tried here: {names}."
    return found


def _pair(
    models: list[Remedy], looked_for: Search, offer: Offer, finding: Finding, ground: Ground, tries: int
) -> list[Remedy]:
    """The newest pair, where it is another one than what comes of changing transformers alone."""
    newest = looked_for.newest_pair()
    reached = _whole(models, looked_for)
    return (
        [] if newest and reached == newest.changes else _first(looked_for.other_pairs(), offer, finding, ground, tries)
    )


def _whole(found: Sequence[Remedy], looked_for: Search) -> dict[str, str] | None:
    """The pair that a remedy comes to."""
    installed = {"transformers": looked_for.transformers, looked_for.package: looked_for.trainer}
    return {name: found[0].changes.get(name, release) for name, release in installed.items()} if found else None


def _first(
    candidates: Iterable[Candidate],
    offer: Offer,
    finding: Finding,
    ground: Ground,
    tries: int,
    tried: list[Candidate] | None = None,
) -> list[Remedy]:
    """The first candidate that helps; one that is known to, where none can be had just now.

    Those that were run and did not help are added to ``tried``.
    """
    tried = [] if tried is None else tried
    lacking: list[Version] = []
    for candidate in list(candidates)[:LOOKS]:
        transformers = Version(candidate.changes.get("transformers", "0"))
        if any(transformers <= one for one in lacking if "transformers" in candidate.changes):
            continue  # a model is added once
        try:
            trial = proof.with_releases(candidate, finding, ground)
        except LacksModel:
            lacking.append(transformers)
            continue
        except Untried as why:
            finding.unsearched = f"{listed(candidate.requirements)} could not be tried: {why}"
            return [_untried(offer(candidate), str(why))] if offer(candidate).evidence else []
        if trial is None:
            continue
        if trial.helps(finding, ground):
            return [release(offer(candidate), trial, ground, candidate.anew)]
        tried.append(candidate)
        if len(tried) == tries:
            break
    return []


def _untried(made: Remedy, why: str) -> Remedy:
    made.evidence += f"; not tried here: {why}"
    return made


def release(made: Remedy, trial: Trial, ground: Ground, anew: Collection[str]) -> Remedy:
    """A change of releases that was run, with all that came to be installed."""
    changes = dict(trial.changes or made.changes)
    names = [f"{name} {release}" for name, release in changes.items()]
    count = "one package changes" if len(names) == 1 else f"{len(names)} packages change"
    made.cost = f"{count}: {listed(names, 6)}; all others stay{_left(trial, ground)}"
    made.changes, made.breaks = changes, list(trial.breaks)
    exact = [f"{name}=={release}" for name, release in changes.items()]
    made.commands = versions.commands(exact, ground.environment, anew)
    return _verified(made, trial, "in an overlay", made.evidence)


def _patch(finding: Finding, cases: list[Case], ground: Ground) -> list[Remedy]:
    proposal = source.propose(finding, cases)
    if proposal is None:
        return []
    ground.progress("trying a patch")
    copy = ground.session.write(proposal.file.name, proposal.patched)
    trial = proof.with_file(str(proposal.file), copy, finding, ground)
    if not trial.helps(finding, ground):
        return []
    made = source.remedy(proposal, finding, ground.environment, trial.left(ground))
    if ground.laid is None or ground.laid not in proposal.file.parents:
        made.commands = [f"ckptdoctor fix --apply{_target(ground)}"]
    return [_verified(made, trial, "with the patched file in place of the installed one")]


def _adapter(finding: Finding, cases: list[Case], ground: Ground) -> list[Remedy]:
    """The no-touch way, which adapts models of transformers' only."""
    if not RULES[finding.rule].reads_callable or not cases:
        return []
    ground.progress("trying the no-touch way")
    trial = proof.with_adapter(finding, ground)
    if not trial.helps(finding, ground):
        return []
    made = Remedy(
        kind="adapter",
        title="start the job through ckptdoctor, which adapts what the function is given; no file changes",
        cost=f"every start of the job needs it{_left(trial, ground)}",
        evidence="",
        commands=[f"ckptdoctor run -- {_start(cases, ground)}"],
    )
    return [_verified(made, trial, "so started")]


def _start(cases: list[Case], ground: Ground) -> str:
    """The command that starts the job, as far as it is known."""
    trainers = [catalog.trainer_of(case.spec.function) for case in cases]
    starts = {trainer.start if trainer else "" for trainer in trainers}
    job = shlex.quote(ground.request.job) if ground.request.job else "JOB.yaml"
    return f"{next(iter(starts))} {job}" if len(starts) == 1 and any(starts) else "python train.py"


def _target(ground: Ground) -> str:
    """The options that name what was diagnosed."""
    named = {"--python": ground.request.python, "--job": ground.request.job}
    named_functions = [("--checkpoint-fn", name) for name in ground.request.options.functions]
    pairs = [*((option, value) for option, value in named.items() if value), *named_functions]
    return "".join(f" {option} {shlex.quote(value)}" for option, value in pairs)


def _left(trial: Trial, ground: Ground) -> str:
    left = trial.left(ground)
    return f"; still failing: {listed(left)}" if left else ""


def _verified(made: Remedy, trial: Trial, how: str, known: str = "") -> Remedy:
    """The remedy, marked with what was run."""
    failed, passed = len(trial.fixed), len(trial.kept)
    words = f"{failed} probe{'' if failed == 1 else 's'} that failed and {passed} that had passed are ok"
    made.evidence = f"tried here {how}: {words}{stood_in(trial.stood_in)}" + (f"; {known}" if known else "")
    made.verified, made.tried = True, trial.tried
    return made


@contextmanager
def _index(ground: Ground) -> Iterator[Newer]:
    """Looks on the index for what is newer than the knowledge; offline there is nothing newer."""
    from ckptdoctor.environment.index import Index

    with Index(pip_settings.read(None, os.environ)) as index:

        def newer(package: str, after: str) -> list[str]:
            try:
                releases = index.releases(package)
            except DoctorError:
                return []
            fitting = [
                one
                for one in releases
                if not one.yanked
                and not one.parsed.is_prerelease
                and _fits(one.requires_python, ground.environment.python)
            ]
            return [one.version for one in reversed(fitting) if one.parsed > Version(after)]

        yield newer


def _fits(requires_python: str, python: str) -> bool:
    try:
        return SpecifierSet(requires_python or "").contains(python, prereleases=True)
    except (InvalidVersion, ValueError):
        return True
