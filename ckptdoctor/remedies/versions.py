"""Changes of releases as remedies: title, cost, commands and evidence."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec
from packaging.version import Version

from ckptdoctor import catalog, knowledge
from ckptdoctor.knowledge import Worked
from ckptdoctor.model import pins
from ckptdoctor.model.compatibility import Map
from ckptdoctor.model.evidence import Environment, Package
from ckptdoctor.model.report import Remedy
from ckptdoctor.remedies.candidates import Candidate
from ckptdoctor.remedies.commands import commands
from ckptdoctor.remedies.proposal import Proposal
from ckptdoctor.remedies.search import Search
from ckptdoctor.words.wording import listed, stood_in


def find(looked_for: Search, used: Collection[str] = ()) -> Proposal:
    """Changes of one package's release that are known to work with the rest of this stack, the nearest of each package.

    Only exact matches count: the installed release of one package with a release of the other, for the same checkpoint
    function and model families. The evidence says whether the pair was measured, or inferred from a run with the same code.

    Args:
        looked_for: What has to work.
        used: Packages that every job uses for which this is asked: a release that does not admit theirs is no answer.
    """

    def fit(candidates: Iterable[Candidate]) -> list[Candidate]:
        return [one for one in candidates if not _names(_broken(one, looked_for.environment)) & set(used)][:1]

    nearest = [*fit(looked_for.trainer_releases()), *fit(looked_for.transformers_releases())] or fit(
        looked_for.other_pairs()
    )
    found = sorted((remedy(one, looked_for) for one in nearest), key=lambda one: len(one.breaks))
    return Proposal(tuple(found), looked_for.impasse())


def remedy(candidate: Candidate, looked_for: Search) -> Remedy:
    """A candidate as a remedy, with its measurements."""
    environment = looked_for.environment
    working = {one.judged.function for one in candidate.works}
    left = sorted(set(looked_for.functions) - working) if working else []
    not_fixed = f"; still failing: {listed(left)}" if left else ""
    stays = {"transformers", looked_for.package} - candidate.changes.keys()
    kept = "".join(f"{name} {environment.version(name)} stays, " for name in sorted(stays))
    follow = (
        "no other package changes"
        if looked_for.package in candidate.changes and stays
        else "its dependencies may change too"
    )
    count = "one package changes" if len(candidate.changes) == 1 else f"{len(candidate.changes)} packages change"
    return msgspec.structs.replace(
        bare(candidate, environment),
        cost=f"{count}; {kept}{follow}{not_fixed}",
        evidence=_evidence(candidate.works, looked_for, stays) if candidate.works else "",
        is_measured=bool(candidate.works) and candidate.works[0].how == "measured",
    )


def bare(candidate: Candidate, environment: Environment) -> Remedy:
    """A change of releases: its title, its commands and the requirements that it breaks; neither cost nor evidence."""
    steps = [f"{name} {release} ({_step(name, release, environment)})" for name, release in _shown(candidate.changes)]
    return Remedy(
        kind="version",
        title=" and ".join(steps),
        cost="",
        evidence="",
        commands=tuple(commands(candidate.requirements, environment, candidate.anew)[:1]),
        breaks=tuple(one.clause(_changed(candidate, environment)) for one in _broken(candidate, environment)),
        changes=dict(candidate.changes),
    )


def _broken(candidate: Candidate, environment: Environment) -> list[pins.Unmet]:
    return pins.newly_unmet(environment, _changed(candidate, environment))


def _names(found: Iterable[pins.Unmet]) -> set[str]:
    return {one.requirement.name for one in found}


def _changed(candidate: Candidate, environment: Environment) -> Environment:
    """The target after the change, if the requirements of the releases are known."""
    known = knowledge.load().requires
    packages = {one.name: one for one in environment.packages}
    for name, release in candidate.changes.items():
        requires = known.get(name, {}).get(release, ())
        packages[name] = Package(name, release, requires=(*requires, *_of_extras(name, requires)))
    return msgspec.structs.replace(environment, packages=tuple(packages.values()))


def _of_extras(name: str, requires: Iterable[str]) -> list[str]:
    """Requirements of extras that bind every job which uses their package, as the trainer's command checks them."""
    trainer = catalog.trainers().get(name)
    extras = trainer.checked_if_used if trainer else ()
    return [f"{one.name}{one.specifier}" for one in pins.parse(requires) if one.name in extras]


def _shown(changes: Mapping[str, str]) -> list[tuple[str, str]]:
    return sorted(changes.items(), key=lambda one: catalog.is_trainer(one[0]))


def _step(package: str, release: str, environment: Environment) -> str:
    installed = environment.version(package)
    if not installed:
        return "not installed now"
    if release == installed:
        return "as released, instead of the edited copy"
    return f"{'up' if Version(release) > Version(installed) else 'down'} from {installed}"


def _evidence(found: Sequence[Worked], looked_for: Search, stays: Iterable[str]) -> str:
    """What was run; for functions that need a GPU in backward, that it was simulated on the CPU."""
    known: Map = knowledge.load()
    run = found[0].run
    ok = "ok" + stood_in(one.judged.function for one in found if one.judged.forward_only)
    if found[0].how == "measured":
        kept = [f"{name} {looked_for.environment.version(name)}" for name in sorted(stays)]
        when, _, torch = knowledge.measured(run, known).partition(" with ")
        return f"{when} with {listed([*kept, torch])}, without an engine: {ok}"
    stack = " and ".join(f"{name} {release}" for name, release in run.stack.items())
    how = f"{knowledge.measured(run, known)}, without an engine: {ok}"
    return f"inferred from {stack}, which has the same code where it matters, {how}"
