"""The releases of transformers in the order of time, and the lines among them at which something changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise

from ckptdoctor import catalog
from ckptdoctor.knowledge.pairs import MODEL_LIBRARY, Pairs
from ckptdoctor.model.compatibility import Map, Run
from ckptdoctor.output.views.ranges import span
from ckptdoctor.words.wording import counted, listed

_MANY = 5
"""Families that must change for a line of its own; where fewer do, and no trainer, the release is only named."""

_NO_FAMILY = ("", "model")
"""What is noted in the place of a convention where a model passes no layer."""


@dataclass(frozen=True)
class Line:
    """A release at which something changes.

    Attributes:
        release: The first with the change.
        date: When it came, YYYY-MM-DD; empty if that is not known.
        at: Where it stands on the line of time, from 0 to 100.
        changes: What changes with it, in sentences.
    """

    release: str
    date: str
    at: float
    changes: tuple[str, ...]


@dataclass(frozen=True)
class Mark:
    """A release on the line of time."""

    release: str
    date: str
    at: float


@dataclass(frozen=True)
class Timeline:
    """All releases of transformers.

    Attributes:
        marks: Each release.
        years: Where years begin; empty without dates.
        lines: Where something changes, oldest first.
        few: Releases at which few families change, as a sentence; empty if there is none.
        first: What is passed in the oldest release, as a sentence.
    """

    marks: tuple[Mark, ...]
    years: tuple[tuple[str, float], ...]
    lines: tuple[Line, ...]
    few: str
    first: str


def of(found: Map, families: Map | None = None) -> Timeline | None:
    """The line of time of a map; none if nothing changes in it, or releases of transformers were not varied.

    Args:
        found: The map, without combinations that have several cells with the same model.
        families: A map of more families, which says more of what is passed.
    """
    releases = found.axes.get(MODEL_LIBRARY, [])
    said = _passed(families or found)
    changes = {release: [*_of_families(counts, total)] for release, (counts, total) in said.changes.items()}
    broken = dict(_of_trainers(Pairs(found)))
    many = {
        release: (*changes.get(release, ()), *broken.get(release, ()))
        for release in releases
        if release in broken or (release in changes and said.families_at(release) >= _MANY)
    }
    rare = [release for release in releases if release in changes and release not in many]
    if len(releases) < 2 or not (many or rare):
        return None
    marks = _marks(releases, found.released.get(MODEL_LIBRARY, {}))
    at = {mark.release: mark for mark in marks}
    lines = tuple(Line(release, at[release].date, at[release].at, told) for release, told in many.items())
    return Timeline(marks, tuple(_years(marks)), lines, _few(rare, said), said.first)


# -- what is passed ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Said:
    """What models pass to the checkpoint function, by release."""

    changes: dict[str, tuple[Counter[tuple[str, str]], int]]
    """By release: how many families go from one convention to another, and how many have one at all."""
    first: str

    def families_at(self, release: str) -> int:
        return sum(self.changes[release][0].values())


def _passed(found: Map) -> _Said:
    at: dict[str, dict[str, str]] = {}
    for cell in found.cells:
        words = _convention(found.run_of(cell))
        if words and MODEL_LIBRARY in cell.stack:
            at.setdefault(cell.stack[MODEL_LIBRARY], {})[cell.model] = words
    releases = [release for release in found.axes.get(MODEL_LIBRARY, []) if release in at]
    changes: dict[str, tuple[Counter[tuple[str, str]], int]] = {}
    last: dict[str, str] = {}
    for release in releases:
        moved = Counter((last[one], now) for one, now in at[release].items() if last.get(one, now) != now)
        if moved:
            changes[release] = (moved, len(at[release]))
        last |= at[release]
    if not releases:
        return _Said({}, "")
    usual, count = Counter(at[releases[0]].values()).most_common(1)[0]
    total = len(at[releases[0]])
    which = f"all {counted(total, 'family')}" if count == total else f"{count} of {counted(total, 'family')}"
    return _Said(changes, f"In {MODEL_LIBRARY} {releases[0]}, {which} pass the checkpoint function {usual}.")


def _convention(run: Run) -> str:
    """What a model passes to torch's own functions, in words."""
    names = {one.convention for one in run.functions if one.function.startswith("torch:") and one.engine == "none"}
    words = {name: record.words for name, record in catalog.conventions().items()}
    return " or ".join(words.get(name) or f"`{name}`" for name in sorted(names - set(_NO_FAMILY)))


def _of_families(counts: Counter[tuple[str, str]], total: int) -> Iterator[str]:
    for (before, now), count in counts.most_common():
        verb = "passes" if count == 1 else "pass"
        yield f"{count} of {counted(total, 'family')} {verb} the checkpoint function {now} instead of {before}."


def _few(releases: Sequence[str], said: _Said) -> str:
    if not releases:
        return ""
    names = [f"{release} ({counted(said.families_at(release), 'family')})" for release in releases]
    return f"Fewer families change at {listed(names, limit=len(names))}."


# -- what breaks ------------------------------------------------------------------------------------------------------


def _of_trainers(known: Pairs) -> Iterator[tuple[str, list[str]]]:
    """By release, which releases of trainers begin to fail with it, and which to work again."""
    found: dict[str, dict[tuple[bool, tuple[str, ...], str], list[str]]] = {}
    axes = known.found.axes
    for trainer in filter(catalog.is_trainer, axes):
        for release in axes[trainer]:
            pairs = [known.pair(trainer, release, one, "") for one in axes.get(MODEL_LIBRARY, [])]
            for before, now in pairwise(pair for pair in pairs if pair is not None):
                if before.works != now.works:
                    kind = (now.works, now.rules, trainer)
                    found.setdefault(now.transformers, {}).setdefault(kind, []).append(release)
    for at, kinds in found.items():
        yield at, [_told(kind, releases, axes[kind[2]]) for kind, releases in kinds.items()]


def _told(kind: tuple[bool, tuple[str, ...], str], releases: Sequence[str], axis: Sequence[str]) -> str:
    works, rules, trainer = kind
    spans, run = list[list[str]](), list[str]()
    for release in axis:
        if release in releases:
            run = [*run, release]
        elif run:
            spans, run = [*spans, run], []
    names = [f"{trainer} {span(one)}" for one in ([*spans, run] if run else spans)]
    begin = "begins" if len(releases) == 1 else "begin"
    return f"{listed(names, limit=len(names))} {begin} to {'work again' if works else f'fail ({listed(rules)})'}."


# -- the line of time -------------------------------------------------------------------------------------------------


def _marks(releases: Sequence[str], days: dict[str, str]) -> tuple[Mark, ...]:
    """Each release with its place: by date if all dates are known, else by order."""
    if all(days.get(release) for release in releases):
        ordinals = [date.fromisoformat(days[release]).toordinal() for release in releases]
        first, last = min(ordinals), max(ordinals)
        places = [100 * (one - first) / max(last - first, 1) for one in ordinals]
    else:
        places = [100 * number / max(len(releases) - 1, 1) for number in range(len(releases))]
    found = zip(releases, places, strict=True)
    return tuple(Mark(release, days.get(release, ""), round(at, 2)) for release, at in found)


def _years(marks: Sequence[Mark]) -> Iterator[tuple[str, float]]:
    if not all(mark.date for mark in marks):
        return
    first, last = (choose(date.fromisoformat(mark.date) for mark in marks) for choose in (min, max))
    days = max((last - first).days, 1)
    for year in range(first.year + 1, last.year + 1):
        yield str(year), round(100 * (date(year, 1, 1) - first).days / days, 2)
