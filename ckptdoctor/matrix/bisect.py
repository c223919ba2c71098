"""Where along the releases of a package the verdict changes, in no more runs than a binary search needs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise

from packaging.specifiers import SpecifierSet

from ckptdoctor import catalog, knowledge
from ckptdoctor.environment.index import Index
from ckptdoctor.environment.sources import Sources, is_source
from ckptdoctor.errors import DoctorError, TargetError, UsageFault
from ckptdoctor.matrix import axes, inference
from ckptdoctor.matrix.axes import Axis
from ckptdoctor.matrix.combination import Combination
from ckptdoctor.matrix.inference import Fingerprints
from ckptdoctor.matrix.measuring import Measuring, today
from ckptdoctor.matrix.reading_code import read_fingerprints
from ckptdoctor.matrix.request import MatrixRequest
from ckptdoctor.matrix.run import index, opened, pinned, split, taking
from ckptdoctor.model.compatibility import BISECTION, Bisection, Line, Run
from ckptdoctor.model.progress import SILENT, Progress
from ckptdoctor.model.report import DECIDED, Verdict
from ckptdoctor.model.sources import readable
from ckptdoctor.model.version import __version__
from ckptdoctor.words.wording import counted, listed


def bisect(request: MatrixRequest, good: str = "", bad: str = "", progress: Progress = SILENT) -> Bisection:
    """Find the line between two releases, or without them all lines on the axis.

    Args:
        request: What is varied, one package, and all the rest.
        good: A release that works.
        bad: One that does not; it may be the older one, and then the first that fixes it is found.
        progress: Told how it goes on.

    Raises:
        UsageFault: The releases are not there, or are not good and bad.
        TargetError: What would have to be known cannot be diagnosed.
    """
    sources = taking(request)
    try:
        return _bisected(request, good, bad, progress, sources)
    except DoctorError as error:
        raise type(error)(readable(error.message, sources.told), error.hint) from error


def _bisected(request: MatrixRequest, good: str, bad: str, progress: Progress, sources: Sources) -> Bisection:
    started = time.monotonic()
    if len(request.options.models) > 1:
        raise UsageFault("A bisection follows one model.", "give --model once")
    request, trainers = split(request, sources)
    with index() as releases, opened(request, progress, sources) as measuring:
        progress("reading the index")
        [text], notes = request.vary, list[str]()
        if is_source(text) and good and bad:
            commits = sources.history(text, good, bad)
            axis, good, bad = Axis(commits.releases[0].name, commits.releases), commits.good, commits.bad
            notes += commits.notes
        else:
            axis, good, bad = _axis(request, good, bad, releases, sources)
        fixed = axes.parse(trainers, releases, sources=sources)
        _require_one_trainer(axis, fixed)
        history = History(
            axis, fixed, read_fingerprints([axis, *fixed], request, releases, progress), request, measuring
        )
        line = history.search(good, bad) if good and bad else None
        lines = [line] if line else history.all_lines()
        made = history.as_bisection(lines, [] if line is None else history.contradictions(line))
        made.notes += notes
    made.sources = sources.told
    made.seconds = round(time.monotonic() - started, 2)
    return made


def _axis(request: MatrixRequest, good: str, bad: str, releases: Index, sources: Sources) -> tuple[Axis, str, str]:
    """What is varied, from the good end to the bad one where there are ends, and these as the axis writes them."""
    [axis] = axes.parse(request.vary, releases, every=request.every, sources=sources)
    if not good or not bad:
        return axis, "", ""
    # They may be yanked, or pre-releases.
    ends = [end if is_source(end) else f"{axis.name}=={end}" for end in (good, bad)]
    [axis] = axes.parse([*request.vary, *ends], releases, every=request.every, sources=sources)
    good, bad = (sources.take(end).version if is_source(end) else _there(axis, end) for end in (good, bad))
    return _between(axis, good, bad), good, bad


def _between(axis: Axis, good: str, bad: str) -> Axis:
    """The axis from the one release to the other."""
    there = [release.version for release in axis.releases]
    first, last = sorted((there.index(good), there.index(bad)))
    if first == last:
        raise UsageFault("The good and the bad release are the same.", "name two")
    return Axis(axis.name, axis.releases[first : last + 1])


def _there(axis: Axis, wanted: str) -> str:
    """A release as the index writes it: ``4.51.0`` for ``4.51``."""
    named = SpecifierSet(f"=={wanted}", prereleases=True)
    return next(release.version for release in axis.releases if not release.source and release.parsed in named)


def _require_one_trainer(axis: Axis, fixed: Sequence[Axis]) -> None:
    names = [one.name for one in (axis, *fixed)]
    if names.count(axis.name) > 1:
        raise UsageFault(f"{axis.name} is both varied and added with --with.", f"leave out --with {axis.name}")
    if sum(catalog.is_trainer(name) for name in names) > 1:
        raise UsageFault(f"A run has one trainer, not {listed(names)}.", "leave the others out")


class History:
    """The releases of an axis, and what is known of each."""

    def __init__(
        self,
        axis: Axis,
        fixed: Sequence[Axis],
        fingerprints: Fingerprints,
        request: MatrixRequest,
        measuring: Measuring,
    ) -> None:
        self.axis = axis.name
        self.releases = [release.version for release in axis.releases]
        others = [(one.name, one.releases[-1].version) for one in fixed]
        model = next(iter(request.options.models), "")
        combinations = [Combination(((axis.name, release), *others), model) for release in self.releases]
        self.combinations = inference.with_models(combinations, fingerprints)
        self._groups = inference.groups(self.combinations, fingerprints)
        self._group_of = {one: group for group in self._groups for one in group.members}
        self._session = measuring
        self._runs: dict[Combination, Run] = {}

    def search(self, good: str, bad: str) -> Line:
        """The line between a release that works and one that does not.

        Raises:
            UsageFault: One of them is not what it is said to be.
            TargetError: One of them cannot be diagnosed.
        """
        self._expect(good, "ok")
        self._expect(bad, "fail")
        while True:
            low, high = self._halve()
            # A side that was only inferred has saved the search a run, which is made up for now.
            if not self._measure_all([low, high]):
                return self._line(low, high)

    def _halve(self) -> tuple[int, int]:
        low, high = 0, len(self.releases) - 1
        first = self.verdict(low)
        while (middle := self._next(low, high)) is not None:
            left = counted(high - low - 1, "release")
            self._session.progress.part(f"{left} between {self.releases[low]} and {self.releases[high]}")
            if self.verdict(middle) == first:
                low = middle
            else:
                high = middle
        return low, high

    def all_lines(self) -> list[Line]:
        """Every line on the axis."""
        while True:
            while waiting := [group for group in self._groups if group.waiting(self._runs)]:
                self._measure(inference.choose(waiting, self._runs))
            decided = [at for at in range(len(self.releases)) if self.verdict(at) in DECIDED]
            changes = [(low, high) for low, high in pairwise(decided) if self.verdict(low) != self.verdict(high)]
            if not self._measure_all([side for change in changes for side in change]):
                return [self._line(low, high) for low, high in changes]

    def verdict(self, at: int) -> Verdict:
        """The verdict on a release: known, inferred, or run now."""
        known = self._known(at)
        return known or self._run(at).verdict

    def contradictions(self, line: Line) -> list[str]:
        """Releases that are known to be otherwise than their side of the line, from inference or the shipped knowledge."""
        low = self.releases.index(line.before)
        sides = {at: (line.run_before if at <= low else line.run_after).verdict for at in range(len(self.releases))}
        return [
            f"{self.axis} {self.releases[at]} is known to {'work' if known == 'ok' else 'fail'}"
            for at, side in sides.items()
            if (known := self._known(at) or self._shipped(at)) in DECIDED and known != side
        ]

    def as_bisection(self, lines: list[Line], contradictions: Sequence[str]) -> Bisection:
        """All that was found out."""
        target = self._session.target
        notes = []
        if len(lines) > 1:
            notes.append(f"The history is not monotonic: the verdict changes {len(lines)} times.")
        if contradictions:
            notes.append(f"The history is not monotonic: {listed(list(contradictions))}.")
        return Bisection(
            schema=BISECTION,
            version=__version__,
            date=today(),
            python=target.python,
            torch=target.version("torch"),
            platform=target.platform,
            axis=self.axis,
            releases=self.releases,
            stack={**dict(self.combinations[0].releases[1:]), **pinned(self._session.requirements)},
            lines=lines,
            runs=len(self._runs),
            from_before=len(self._runs) - self._session.ran,
            verdicts={self.releases[at]: known for at in range(len(self.releases)) if (known := self._known(at))},
            measured=[
                release for release, one in zip(self.releases, self.combinations, strict=True) if one in self._runs
            ],
            notes=notes,
        )

    def _expect(self, release: str, expected: Verdict) -> None:
        run = self._run(self.releases.index(release))
        if run.verdict not in DECIDED:
            raise TargetError(f"{self.axis} {release} cannot be diagnosed: {run.summary}", "name another release")
        if run.verdict != expected:
            word = "good" if expected == "ok" else "bad"
            raise UsageFault(
                f"{self.axis} {release} is not {word}: {run.summary}", "leave --good and --bad out to find all lines"
            )

    def _next(self, low: int, high: int) -> int | None:
        """The release nearest to the middle between two that can be diagnosed; none where nothing is left between."""
        between = sorted(range(low + 1, high), key=lambda at: (abs(2 * at - low - high), at))
        return next((at for at in between if self.verdict(at) in DECIDED), None)

    def _line(self, low: int, high: int) -> Line:
        between = self.releases[low + 1 : high]
        return Line(self.releases[low], self.releases[high], self._run(low), self._run(high), between)

    def _known(self, at: int) -> Verdict | None:
        one = self.combinations[at]
        run = self._runs.get(one) or self._speaker(one)
        return run.verdict if run else None

    def _speaker(self, one: Combination) -> Run | None:
        """The run that a release's verdict may be inferred from."""
        speaker = self._group_of[one].evidence(self._runs)
        return self._runs[speaker] if speaker else None

    def _shipped(self, at: int) -> Verdict | None:
        one = self.combinations[at]
        options = self._session.options
        if options.functions or set(options.engines) - {"none"} or self._session.requirements:
            return None  # something else was measured
        cells = knowledge.load().matching(one.stack, one.model)
        return next((cell.verdict for cell in cells if cell.stack == one.stack), None)

    def _run(self, at: int) -> Run:
        one = self.combinations[at]
        if one not in self._runs:
            self._measure([one])
        return self._runs[one]

    def _measure_all(self, places: Sequence[int]) -> bool:
        """Run what was only inferred; whether there was any."""
        left = [one for at in dict.fromkeys(places) if (one := self.combinations[at]) not in self._runs]
        self._measure(left)
        return bool(left)

    def _measure(self, combinations: Sequence[Combination]) -> None:
        expected = {one: self._speaker(one) for one in combinations}
        found = self._session.measure(combinations)
        for one, run in found.items():
            speaker = expected[one]
            if speaker is not None and run.verdict in DECIDED and run.verdict != speaker.verdict:
                self._group_of[one].distrusted = True
        self._runs |= found
