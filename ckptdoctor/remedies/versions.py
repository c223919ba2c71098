"""Other releases that may mend a finding: from what was measured, and from the index where that says nothing yet."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.version import Version

from ckptdoctor import knowledge
from ckptdoctor.compatibility import TRAINERS, Map
from ckptdoctor.evidence import Environment
from ckptdoctor.knowledge import Worked
from ckptdoctor.plan import first_of_all
from ckptdoctor.remedies.pins import allows, parse
from ckptdoctor.report import Finding, Remedy
from ckptdoctor.rules import Case
from ckptdoctor.wording import listed, stood_in

Newer = Callable[[str, str], Sequence[str]]
"""Given a package and a release: those on the index that are newer, newest first."""


@dataclass(frozen=True)
class Candidate:
    """Releases to change to.

    Attributes:
        changes: Release by package.
        works: What is known of them with the rest of the stack; nothing for a guess, which must be tried.
    """

    changes: Mapping[str, str]
    works: tuple[Worked, ...] = ()

    @property
    def requirements(self) -> list[str]:
        """For pip; trainers last."""
        names = sorted(self.changes, key=lambda name: (name in TRAINERS, name))
        return [f"{name}=={self.changes[name]}" for name in names]


@dataclass(frozen=True)
class Search:
    """What is looked for: releases with which a trainer's functions train a model family.

    Attributes:
        package: The trainer.
        model: Model family.
        functions: The trainer's functions that fail.
        environment: The target.
    """

    package: str
    model: str
    functions: tuple[str, ...]
    environment: Environment

    @property
    def trainer(self) -> str:
        """The installed release of the trainer."""
        return self.environment.version(self.package)

    @property
    def transformers(self) -> str:
        """The installed release of transformers."""
        return self.environment.version("transformers")

    def trainers(self, newer: Newer | None = None) -> list[Candidate]:
        """Other releases of the trainer, the smallest step first; guesses, newest first, where nothing is known."""
        known = self._known("version", transformers=self.transformers)
        found = [Candidate({self.package: release}, tuple(known[release])) for release in _by_step(known, self.trainer)]
        if found or newer is None or self.transformers in self._axis("transformers"):
            return found or self._guesses(self.package, self.trainer, newer)
        # Nothing is known of this transformers: the newest of all is the likeliest to get on with it.
        newest = [one for one in self._axis(self.package)[-1:] if one != self.trainer]
        return [*self._guesses(self.package, self.trainer, newer), *(Candidate({self.package: one}) for one in newest)]

    def models(self, newer: Newer | None = None) -> list[Candidate]:
        """Other releases of transformers, likewise."""
        known = self._known("transformers", **{self.package: self.trainer})
        found = [
            Candidate({"transformers": release}, tuple(known[release]))
            for release in _by_step(known, self.transformers)
        ]
        if found or self.trainer in self._axis(self.package):
            return found or self._guesses("transformers", self.transformers, newer)[:1]
        # A release of the trainer that is newer than the knowledge is likely to get on with what the last one did.
        alike = self._known("transformers", **{self.package: (self._axis(self.package) or [""])[-1]})
        guesses = [Candidate({"transformers": release}) for release in _by_step(alike, self.transformers)]
        return [*(self._guesses("transformers", self.transformers, newer)), *guesses] if newer else []

    def pairs(self) -> list[Candidate]:
        """Releases of both that are known to work together, the newest first."""
        pairs: dict[tuple[Version, Version], list[Worked]] = {}
        for one in knowledge.works(self.package, self.model):
            pairs.setdefault((Version(one.transformers), Version(one.version)), []).append(one)
        return [
            Candidate({"transformers": found[0].transformers, self.package: found[0].version}, tuple(found))
            for _, found in sorted(pairs.items(), reverse=True)
            if self._suffice(found)
        ]

    def newest_pair(self) -> Candidate | None:
        """The newest pair that is known to work, whichever of the two is installed already."""
        return next(iter(self.pairs()), None)

    def impasse(self, pair: Mapping[str, str] | None = None, tried: Sequence[str] | None = None) -> str:
        """That no release of the trainer works with the installed transformers, and which newest pair does; or nothing.

        Args:
            pair: The newest pair that was found to work here; what is known otherwise.
            tried: Other releases of the trainer that were run here, and did not help.
        """
        which = self._which(tried)
        if not which:
            return ""
        found = self.newest_pair()
        pair = pair or (found.changes if found else None)
        none = f"{which} has a checkpoint function that works with transformers {self.transformers}"
        if pair is None:
            return f"{none}, and none that works with another is known."
        newest = f"transformers {pair['transformers']} with {self.package} {pair[self.package]}"
        return f"{none}; the newest pair that works is {newest}."

    def _which(self, tried: Sequence[str] | None) -> str:
        """The releases of which it can be said that none works; empty where one does, or may."""
        known = knowledge.load()
        here = [
            cell
            for cell in known.matching({"transformers": self.transformers}, self.model)
            if self.package in cell.stack
        ]
        if not here:
            also = sorted({*(tried or ()), self.trainer}, key=Version)
            return f"No release of {self.package} that was tried here ({listed(also)})" if tried is not None else ""
        if any(cell.verdict == "error" for cell in here) or self._known("version", transformers=self.transformers):
            return ""
        newest = max((*(cell.stack[self.package] for cell in here), *(tried or ())), key=Version)
        return f"No release of {self.package} up to {newest}"

    def _known(self, axis: str, **fixed: str) -> dict[str, list[Worked]]:
        """Releases along an axis with which all the functions that matter are known to be ok."""
        by_release: dict[str, list[Worked]] = {}
        for one in knowledge.works(self.package, self.model, **fixed):
            by_release.setdefault(getattr(one, axis), []).append(one)
        return {release: found for release, found in by_release.items() if self._suffice(found)}

    def _suffice(self, found: Iterable[Worked]) -> bool:
        return {one.judged.function for one in found} >= first_of_all(self.functions)

    def _axis(self, package: str) -> list[str]:
        return knowledge.load().axes.get(package, [])

    def _guesses(self, package: str, installed: str, newer: Newer | None) -> list[Candidate]:
        """Releases that are newer than all that is known, and newer than what is installed."""
        if newer is None:
            return []
        after = max([installed, *self._axis(package)[-1:]], key=Version)
        return [Candidate({package: release}) for release in newer(package, after)]


def search(cases: list[Case], environment: Environment) -> Search | None:
    """What to look for to mend a finding; nothing where releases of one trainer and of transformers are not the matter.

    What was measured is the usual step without an engine, so nothing is looked for where the fault does not show there.
    """
    functions = sorted({case.spec.function for case in cases})
    models = {case.evidence.family or case.spec.model for case in cases}
    packages = {name.split(":")[0] for name in functions}
    if len(packages) != 1 or len(models) != 1 or not any(case.shows_in_the_usual_step() for case in cases):
        return None
    made = Search(packages.pop(), models.pop(), tuple(functions), environment)
    return made if made.package in TRAINERS and made.trainer and made.transformers else None


def find(finding: Finding, cases: list[Case], environment: Environment) -> list[Remedy]:
    """Changes of one package's release that are known to work with the rest of this stack, the nearest of each package.

    Only exact matches count: the installed release of the one package with a release of the other, for the same checkpoint
    function and model family; run, or inferred from a run with the very same code, and said to be the one or the other.
    """
    looked_for = search(cases, environment)
    if looked_for is None:
        return []
    finding.impasse = looked_for.impasse()
    nearest = [*looked_for.trainers()[:1], *looked_for.models()[:1]]
    return sorted((remedy(one, looked_for) for one in nearest), key=lambda found: len(found.breaks))


def remedy(candidate: Candidate, looked_for: Search) -> Remedy:
    """A candidate as it is offered, with what is known of it."""
    environment = looked_for.environment
    steps = [f"{name} {release} ({_step(name, release, environment)})" for name, release in _shown(candidate.changes)]
    working = {one.judged.function for one in candidate.works}
    left = sorted(set(looked_for.functions) - working) if working else []
    not_mended = f"; {listed(left)} is not mended by it" if left else ""
    stays = {"transformers", looked_for.package} - candidate.changes.keys()
    kept = "".join(f"{name} {environment.version(name)} stays, " for name in sorted(stays))
    follow = (
        "all others stay" if looked_for.package in candidate.changes and stays else "what it requires itself may follow"
    )
    count = "one package changes" if len(candidate.changes) == 1 else f"{len(candidate.changes)} packages change"
    return Remedy(
        kind="version",
        title=" and ".join(steps),
        cost=f"{count}; {kept}{follow}{not_mended}",
        evidence=_evidence(candidate.works, looked_for, stays) if candidate.works else "",
        commands=commands(candidate.requirements, environment)[:1],
        breaks=_pins(candidate, environment),
        changes=dict(candidate.changes),
    )


def commands(requirements: Iterable[str], environment: Environment) -> list[str]:
    """What installs requirements as they were tried, with pip where the target has it and with uv.

    A trainer goes in alone, all else with what it requires.
    """
    executable = shlex.quote(environment.executable)
    pip = shutil.which("pip")
    belongs = pip is not None and Path(pip).parent == Path(environment.executable).parent
    has_pip = not environment.packages or bool(environment.version("pip"))
    installers = [*(["pip install" if belongs else f"{executable} -m pip install"] if has_pip else [])]
    return [_command(list(requirements), one) for one in (*installers, f"uv pip install --python {executable}")]


def _command(wanted: Sequence[str], install: str) -> str:
    alone = [one for one in wanted if one.partition("==")[0] in TRAINERS]
    others = [one for one in wanted if one not in alone]
    parts = [f"{install} {_quoted(others)}"] if others else []
    parts += [f"{install} --no-deps {_quoted(alone)}"] if alone else []
    return " && ".join(parts)


def _quoted(requirements: Sequence[str]) -> str:
    return " ".join(f"'{one}'" for one in requirements)


def _shown(changes: Mapping[str, str]) -> list[tuple[str, str]]:
    return sorted(changes.items(), key=lambda one: one[0] in TRAINERS)


def _step(package: str, release: str, environment: Environment) -> str:
    installed = environment.version(package)
    return f"{'up' if Version(release) > Version(installed) else 'down'} from {installed}"


def _by_step(releases: Iterable[str], installed: str) -> list[str]:
    """The smallest step first: releases above, ascending, then those below, descending."""
    here = Version(installed)
    up = sorted((release for release in releases if Version(release) > here), key=Version)
    down = sorted((release for release in releases if Version(release) < here), key=Version, reverse=True)
    return [*up, *down]


def _evidence(found: Sequence[Worked], looked_for: Search, stays: Iterable[str]) -> str:
    """What was run, and how far it reaches: functions that need a GPU in backward had the CPU in its place."""
    known: Map = knowledge.load()
    run = found[0].run
    ok = "ok" + stood_in(one.judged.function for one in found if one.judged.forward_only)
    if found[0].how == "measured":
        kept = [f"{name} {looked_for.environment.version(name)}" for name in sorted(stays)]
        return f"measured on {run.date} with {listed([*kept, f'torch {known.torch}'])}: {ok}"
    stack = " and ".join(f"{name} {release}" for name, release in run.stack.items())
    return f"inferred from {stack}, whose code that matters is the same, measured on {run.date} with torch {known.torch}: {ok}"


def _pins(candidate: Candidate, environment: Environment) -> list[str]:
    """Declared requirements that the candidate's releases do not meet, or whose own the installed packages do not meet."""
    known = knowledge.load().requires
    changes = candidate.changes
    broken = []
    for installed in environment.packages:
        if installed.name not in changes:
            broken += [
                f"{installed.name} {installed.version} requires {one.name}{one.specifier}"
                for one in parse(installed.requires)
                if one.name in changes and not allows(one, changes[one.name], environment)
            ]
    for name, release in changes.items():
        for one in parse(known.get(name, {}).get(release, [])):
            has = changes.get(one.name) or environment.version(one.name)
            if has and not allows(one, has, environment):
                broken.append(f"{name} {release} requires {one.name}{one.specifier}")
    return broken
