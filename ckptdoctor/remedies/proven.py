"""The remedies for a finding, each tried before it is offered, what changes least first."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from ckptdoctor.errors import DoctorError
from ckptdoctor.remedies import proof, settings, source, versions
from ckptdoctor.remedies.proof import Ground, Trial, Untried
from ckptdoctor.remedies.versions import Candidate, Newer, Search
from ckptdoctor.report import Finding, Remedy
from ckptdoctor.rules import Case
from ckptdoctor.target import pip_settings
from ckptdoctor.wording import listed, stood_in

TRIES = 3
"""Releases of one kind that are run before the search for one that helps is given up."""

LOOKS = 12
"""Releases of one kind that are looked for: of some there is none for the target's Python."""

STARTS = {"llamafactory": "llamafactory-cli train", "axolotl": "axolotl train"}
"""How each trainer's jobs are started."""

KINDS = ("version", "patch", "adapter", "setting")
"""By how little they change, and how long they last."""


def find(finding: Finding, ground: Ground) -> list[Remedy]:
    """The remedies for a finding, each run on this very stack with what had failed and what had passed.

    Releases that cannot be fetched just now are offered as far as they are known, and are not marked as verified.
    """
    cases = ground.found.cases_of(finding)
    found = [
        *_versions(finding, cases, ground),
        *_patch(finding, cases, ground),
        *_adapter(finding, cases, ground),
        *settings.find(cases),
    ]
    return sorted(found, key=_weight)


def _weight(remedy: Remedy) -> tuple[int, bool, bool, int]:
    """How much a remedy changes: no broken pin before any, few packages before many; the rest keeps its order."""
    return KINDS.index(remedy.kind), not remedy.verified, bool(remedy.breaks), len(remedy.changes)


def _versions(finding: Finding, cases: list[Case], ground: Ground) -> list[Remedy]:
    looked_for = versions.search(cases, ground.environment)
    if looked_for is None:
        return []
    tried: list[Candidate] = []
    with _index(ground) as newer:
        trainers = _first(looked_for.trainers(newer), looked_for, finding, ground, tried)
        # A guess costs a download of transformers: it is not made where something is known to help.
        models = _first(looked_for.models(None if trainers else newer), looked_for, finding, ground)
    pair = [] if trainers else _pair(models, looked_for, finding, ground)
    if not trainers:
        releases = [one.changes[looked_for.package] for one in tried]
        finding.impasse = looked_for.impasse(_whole(pair or models, looked_for), releases)
    return [*trainers, *models, *pair]


def _pair(models: list[Remedy], looked_for: Search, finding: Finding, ground: Ground) -> list[Remedy]:
    """The newest pair, where it is another one than what comes of changing transformers alone."""
    both = [
        one
        for one in looked_for.pairs()
        if one.changes["transformers"] != looked_for.transformers
        and one.changes[looked_for.package] != looked_for.trainer
    ]
    newest = looked_for.newest_pair()
    reached = _whole(models, looked_for)
    return [] if newest and reached == newest.changes else _first(both, looked_for, finding, ground)


def _whole(found: Sequence[Remedy], looked_for: Search) -> dict[str, str] | None:
    """The pair that a remedy comes to."""
    installed = {"transformers": looked_for.transformers, looked_for.package: looked_for.trainer}
    return {name: found[0].changes.get(name, release) for name, release in installed.items()} if found else None


def _first(
    candidates: Iterable[Candidate],
    looked_for: Search,
    finding: Finding,
    ground: Ground,
    tried: list[Candidate] | None = None,
) -> list[Remedy]:
    """The first candidate that helps; one that is known to, where none can be had just now.

    Those that were run and did not help are added to ``tried``.
    """
    tried = [] if tried is None else tried
    for candidate in list(candidates)[:LOOKS]:
        try:
            trial = proof.with_releases(candidate.requirements, finding, ground)
        except Untried as why:
            return [_untried(candidate, looked_for, str(why))] if candidate.works else []
        if trial is None:
            continue
        if trial.helps(finding, ground):
            return [_release(candidate, trial, looked_for, ground)]
        tried.append(candidate)
        if len(tried) == TRIES:
            break
    return []


def _untried(candidate: Candidate, looked_for: Search, why: str) -> Remedy:
    made = versions.remedy(candidate, looked_for)
    made.evidence += f"; not tried here: {why}"
    return made


def _release(candidate: Candidate, trial: Trial, looked_for: Search, ground: Ground) -> Remedy:
    made = versions.remedy(candidate, looked_for)
    changes = dict(trial.changes or candidate.changes)
    names = [f"{name} {release}" for name, release in changes.items()]
    count = "one package changes" if len(names) == 1 else f"{len(names)} packages change"
    made.cost = f"{count}: {listed(names, 6)}; all others stay{_left(trial, ground)}"
    made.changes, made.breaks = changes, list(trial.breaks)
    exact = [f"{name}=={release}" for name, release in changes.items()]
    made.commands = versions.commands(exact, ground.environment)
    return _verified(made, trial, "in an overlay", made.evidence)


def _patch(finding: Finding, cases: list[Case], ground: Ground) -> list[Remedy]:
    proposal = source.propose(finding, cases)
    if proposal is None:
        return []
    ground.progress("trying a patch")
    copy = ground.patient.write(proposal.file.name, proposal.patched)
    trial = proof.with_file(str(proposal.file), copy, finding, ground)
    if not trial.helps(finding, ground):
        return []
    made = source.remedy(proposal, finding, ground.environment, trial.left(ground))
    if ground.laid is None or ground.laid not in proposal.file.parents:
        made.commands = [f"ckptdoctor fix --apply{_target(ground)}"]
    return [_verified(made, trial, "with the patched file in place of the installed one")]


def _adapter(finding: Finding, cases: list[Case], ground: Ground) -> list[Remedy]:
    """The no-touch way, which adapts models of transformers' only."""
    if finding.rule != "CKPT001" or not cases:
        return []
    ground.progress("trying the no-touch way")
    trial = proof.with_adapter(finding, ground)
    if not trial.helps(finding, ground):
        return []
    made = Remedy(
        kind="adapter",
        title="start the job through ckptdoctor, which adapts what the function is handed; no file changes",
        cost=f"every start of the job needs it{_left(trial, ground)}",
        evidence="",
        commands=[f"ckptdoctor run -- {_start(cases, ground)}"],
    )
    return [_verified(made, trial, "so started")]


def _start(cases: list[Case], ground: Ground) -> str:
    """The command that starts the job, as far as it is known."""
    starts = {STARTS.get(case.spec.function.split(":")[0], "") for case in cases}
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
    return f"; left as it is by it: {listed(left)}" if left else ""


def _verified(made: Remedy, trial: Trial, how: str, known: str = "") -> Remedy:
    """The remedy, marked with what was run."""
    failed, passed = len(trial.mended), len(trial.kept)
    words = f"{failed} probe{'' if failed == 1 else 's'} that failed and {passed} that had passed are ok"
    made.evidence = f"tried here {how}: {words}{stood_in(trial.stood_in)}" + (f"; {known}" if known else "")
    made.verified, made.tried = True, trial.tried
    return made


@contextmanager
def _index(ground: Ground) -> Iterator[Newer]:
    """Looks on the index for what is newer than the knowledge; offline there is nothing newer."""
    from ckptdoctor.target.index import Index

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
