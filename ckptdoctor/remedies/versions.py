"""Changes of releases as remedies: title, cost, commands and evidence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec
from packaging.version import Version

from ckptdoctor import catalog, knowledge
from ckptdoctor.knowledge import Worked
from ckptdoctor.model.compatibility import Map
from ckptdoctor.model.evidence import Environment, Package
from ckptdoctor.model.pins import broken
from ckptdoctor.model.report import Remedy
from ckptdoctor.remedies.candidates import Candidate
from ckptdoctor.remedies.commands import commands
from ckptdoctor.remedies.proposal import Proposal
from ckptdoctor.remedies.search import Search
from ckptdoctor.words.wording import listed, stood_in


def find(looked_for: Search) -> Proposal:
    """Changes of one package's release that are known to work with the rest of this stack, the nearest of each package.

    Only exact matches count: the installed release of one package with a release of the other, for the same checkpoint
    function and model families. The evidence says whether the pair was measured, or inferred from a run with the same code.
    """
    nearest = [*looked_for.trainer_releases()[:1], *looked_for.transformers_releases()[:1]] or looked_for.other_pairs()[
        :1
    ]
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
        breaks=tuple(broken(environment, _changed(candidate, environment))),
        changes=dict(candidate.changes),
    )


def _changed(candidate: Candidate, environment: Environment) -> Environment:
    """The target after the change, if the requirements of the releases are known."""
    known = knowledge.load().requires
    packages = {one.name: one for one in environment.packages}
    for name, release in candidate.changes.items():
        packages[name] = Package(name, release, requires=tuple(known.get(name, {}).get(release, ())))
    return msgspec.structs.replace(environment, packages=tuple(packages.values()))


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
