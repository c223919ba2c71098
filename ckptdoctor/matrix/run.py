"""The matrix: every combination of some releases, as many as must be run, the rest inferred from those."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from ckptdoctor import catalog
from ckptdoctor.environment import interpreter, pip_settings
from ckptdoctor.environment.index import Index
from ckptdoctor.environment.session import Session
from ckptdoctor.environment.sources import Sources, is_source
from ckptdoctor.errors import UsageFault
from ckptdoctor.matrix import axes, choosing_executor, inference, questions, reading_code, sharding
from ckptdoctor.matrix.axes import Axis
from ckptdoctor.matrix.combination import Combination, combine
from ckptdoctor.matrix.environments import Environments
from ckptdoctor.matrix.inference import Fingerprints
from ckptdoctor.matrix.measuring import Measuring, today
from ckptdoctor.matrix.request import MatrixRequest
from ckptdoctor.matrix.store import Store
from ckptdoctor.model import declared
from ckptdoctor.model.compatibility import SCHEMA, Audit, Cell, Map, Run
from ckptdoctor.model.evidence import Environment
from ckptdoctor.model.exit_status import ExitStatus
from ckptdoctor.model.progress import SILENT, Progress
from ckptdoctor.model.version import __version__
from ckptdoctor.planning.options import ALL
from ckptdoctor.store import cache_eviction, locations, workspace


def matrix(request: MatrixRequest, progress: Progress = SILENT, known: Mapping[Combination, Run] | None = None) -> Map:
    """Judge every combination of the releases that match.

    Args:
        request: What to judge, and how.
        progress: Told how it goes on.
        known: Runs that need not be made again.

    Raises:
        DoctorError: An axis or the target is missing, or the request makes no sense.
    """
    started = time.monotonic()
    sources = taking(request)
    request, trainers = split(request, sources)
    with index() as releases, opened(request, progress, sources) as measuring:
        progress("reading the index")
        found = axes.parse(
            [*request.vary, *trainers],
            releases,
            every=request.every,
            pre=request.pre,
            yanked=request.yanked,
            sources=sources,
        )
        fingerprints = reading_code.read_fingerprints(found, request, releases, progress)
        if ALL in request.options.models:
            request = reading_code.of_all_families(request, fingerprints)
            measuring.options = request.options
        work = Work(found, fingerprints, request, measuring, known)
        work.run()
        made = work.as_map()
        made.notes += releases.notes
    made.sources = sources.told
    made.seconds = round(time.monotonic() - started, 2)
    return made


def taking(request: MatrixRequest) -> Sources:
    """What takes the sources that a request names."""
    return Sources(interpreter.find(request.python, os.environ), locations.cache())


def split(request: MatrixRequest, sources: Sources) -> tuple[MatrixRequest, list[str]]:
    """A request without its trainers, and these trainers: each is judged as an axis of one release."""
    trainers = [text for text in request.requirements if _is_trainer(text, sources)]
    return replace(request, requirements=[text for text in request.requirements if text not in trainers]), trainers


def pinned(requirements: Sequence[str]) -> dict[str, str]:
    """What is added to every combination, for people: the release, or else the specifier or the URL."""
    parsed = map(Requirement, requirements)
    return {one.name: str(one.specifier).removeprefix("==") or one.url or "newest" for one in parsed}


def _is_trainer(text: str, sources: Sources) -> bool:
    if is_source(text):
        return catalog.is_trainer(sources.take(text).name)
    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        raise UsageFault(f"'{text}' is not a requirement.", "write it as for pip: transformers==4.52.4") from None
    return catalog.is_trainer(canonicalize_name(requirement.name)) and axes.is_pinned(requirement.specifier)


@contextmanager
def index() -> Iterator[Index]:
    """The indexes that pip is set up for."""
    with Index(pip_settings.read(None, os.environ)) as opened:
        yield opened


@contextmanager
def opened(request: MatrixRequest, progress: Progress, sources: Sources) -> Iterator[Measuring]:
    """What measures combinations on the target."""
    python = interpreter.find(request.python, os.environ)
    cache = locations.cache()
    with Session(python, None, 1, cache) as session:
        target = session.look()
    path = request.store or cache / locations.STORE
    workspace.hold(cache, locations.STORE)
    with Store(path) as store, Environments(python, target, cache, sources) as environments:
        executor = choosing_executor.choose(request, environments)
        requirements = [sources.pinned(text) for text in request.requirements]
        made = Measuring(target, request.options, store, executor, progress, requirements, request.refresh)
        with made:
            yield made
    cache_eviction.keep_within_limit(cache, progress)


class Work:
    """The combinations of a matrix, from request to verdict."""

    def __init__(
        self,
        found: Sequence[Axis],
        fingerprints: Fingerprints,
        request: MatrixRequest,
        measuring: Measuring,
        known: Mapping[Combination, Run] | None = None,
        wanted: Callable[[Combination], bool] = lambda _: True,
    ) -> None:
        """Find out what must be run.

        Args:
            found: The axes.
            fingerprints: What is known of their releases' code.
            request: What is judged.
            measuring: What runs combinations.
            known: Runs that need not be made again, from which others may be inferred.
            wanted: Which of the other combinations to judge.
        """
        self.axes = {axis.name: [release.version for release in axis.releases] for axis in found}
        self._released = {axis.name: {one.version: one.date for one in axis.releases if one.date} for axis in found}
        combinations = inference.with_models(combine(self.axes, request.options.models), fingerprints)
        self._lacking: dict[str, list[str]] = {}
        if len(request.options.models) > 1:
            combinations, self._lacking = inference.without_lacking(combinations, fingerprints)
        known = known or {}
        self.combinations = [one for one in combinations if one in known or wanted(one)]
        self._for_others = _made_for_others(found, measuring.target)
        self.groups = inference.groups(self.combinations, fingerprints, self._for_others)
        for group in self.groups:
            group.errors_speak = request.options.by_family
            group.distrusted = request.exhaustive
        self.own = sharding.own(self.groups, request.shard, request.options.engines) if request.shard else self.groups
        """The groups that are run here."""
        self.runs: dict[Combination, Run] = dict(known)
        self.audit: Audit | None = None
        self._request, self._session, self._fingerprints = request, measuring, fingerprints

    def run(self) -> None:
        """Run what must be run, then what the audit picks."""
        if self._request.options.by_family and not self._request.refresh:
            # Of hundreds of families, whichever releases were run.
            self.runs = {**self._session.recall(self.combinations), **self.runs}
        self._settle()
        if self._request.audit:
            self._audit()
            self._settle()

    def _settle(self) -> None:
        while waiting := [group for group in self.own if group.waiting(self.runs)]:
            self.runs |= self._session.measure(inference.choose(waiting, self.runs))

    def _audit(self) -> None:
        """Run inferred combinations at random; a group with one that differs is trusted no more."""
        chance = random.Random(self._request.seed)  # noqa: S311 - which ones is no secret
        inferred = [
            (group, one)
            for group in self.own
            if group.evidence(self.runs)
            for one in group.members
            if one not in self.runs and one not in group.reserve
        ]
        picked = chance.sample(inferred, min(self._request.audit, len(inferred)))
        before = {group.members[0]: group.evidence(self.runs) for group, _ in picked}
        self._session.options = replace(self._session.options, by_family=False)  # each probe in a process of its own
        found = self._session.measure([one for _, one in picked])
        self.audit = Audit(len(found))
        for group, one in picked:
            speaker = before[group.members[0]]
            if speaker is not None and (
                difference := inference.difference(found[one], self.runs[speaker], group.errors_speak)
            ):
                self.audit.disagreements.append(f"{one} was inferred from {speaker}: {difference}")
                group.distrusted = True
        self.runs |= found

    def as_map(self) -> Map:
        """All that was found out."""
        target = self._session.target
        made = Map(
            schema=SCHEMA,
            version=__version__,
            date=today(),
            python=target.python,
            torch=target.version("torch"),
            platform=target.platform,
            axes=self.axes,
            runs=list(self.runs.values()),
            cells=list(self._cells()),
            requires=self._requires(),
            audit=self.audit,
            notes=self._notes(),
            released={name: days for name, days in self._released.items() if days},
        )
        return declared.marked(made)

    def _requires(self) -> dict[str, dict[str, list[str]]]:
        """What each release of a trainer requires: as installed for those that were run, as the wheel says for the rest."""
        installed = self._session.trainers(self.runs)
        return {
            name: {
                **{
                    release: questions.of_the_stack(fingerprint.requires)
                    for release, fingerprint in self._fingerprints.get(name, {}).items()
                    if fingerprint is not None and fingerprint.requires is not None
                },
                **installed.get(name, {}),
            }
            for name in self.axes
            if catalog.is_trainer(name)
        }

    def _cells(self) -> Iterator[Cell]:
        group_of = {one: group for group in self.groups for one in group.members}
        number = {one: at for at, one in enumerate(self.runs)}
        for one in self.combinations:
            source = one if one in self.runs else group_of[one].evidence(self.runs)
            if source is not None:
                run = self.runs[source]
                how = "measured" if source == one else "inferred"
                yield Cell(one.stack, run.model or one.model, run.verdict, how, number[source])  # type: ignore[arg-type]

    def _notes(self) -> list[str]:
        notes = []
        if over := pinned(self._session.requirements):
            listing = ", ".join(f"{name} {release}" for name, release in over.items())
            notes.append(f"In every combination: {listing}.")
        if self._request.shard:
            own, all_of_them = len(self.own), len(self.groups)
            notes.append(f"Shard {self._request.shard.label} runs {own} of {all_of_them} groups of combinations.")
        lacking = {} if self._request.options.by_family else self._lacking
        notes += [f"{family} is not in transformers {_span(releases)}." for family, releases in lacking.items()]
        notes += self._session.executor.notes()
        if self._session.store.lost:
            notes.append(f"Results could not be kept in {self._session.store.path}: {self._session.store.lost}.")
        others = sorted(f"{name} {release}" for name, release in self._for_others if catalog.is_trainer(name))
        if others:
            notes.append(
                f"Made for another Python than {self._session.target.python}, and tried on it all the same, since only the "
                f"module of the checkpoint function is loaded: {', '.join(others)}."
            )
        return notes


def _span(releases: list[str]) -> str:
    return releases[0] if len(releases) == 1 else f"{releases[0]} to {releases[-1]}"


def _made_for_others(found: Sequence[Axis], target: Environment) -> set[tuple[str, str]]:
    """Releases that say of themselves that they are not for the target's Python."""
    return {
        (axis.name, release.version)
        for axis in found
        for release in axis.releases
        if release.requires_python
        and not SpecifierSet(release.requires_python).contains(target.python, prereleases=True)
    }


def verdict_status(cells: Mapping[str, int]) -> ExitStatus:
    """The exit status for a number of cells by verdict: as for ``check``."""
    if cells.get("fail"):
        return ExitStatus.FOUND
    return ExitStatus.OK if cells.get("ok") else ExitStatus.UNDIAGNOSED
