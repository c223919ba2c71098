"""Which releases of trainers fail with an error, and what works in their place, as the shipped map has it."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from ckptdoctor import catalog, knowledge
from ckptdoctor.knowledge.pairs import MODEL_LIBRARY as LIBRARY
from ckptdoctor.knowledge.pairs import Pairs
from ckptdoctor.model.compatibility import Cell, Fault
from ckptdoctor.model.evidence import Place
from ckptdoctor.output.views import ranges

_Pair = tuple[str, str]
"""A release of a trainer and one of transformers."""


@dataclass(frozen=True)
class WayOut:
    """What works where a trainer fails.

    Attributes:
        libraries: Neighbouring releases of transformers.
        release: The next release of the trainer that works on all of them; empty if none does.
        admitted: Those of the libraries that the release's own requirements admit.
        pair: Without such a release, the newest pair that works.
    """

    libraries: tuple[str, ...]
    release: str
    admitted: tuple[str, ...]
    pair: _Pair | None


@dataclass(frozen=True)
class Failing:
    """Neighbouring releases of a trainer that fail with an error on neighbouring releases of transformers.

    Attributes:
        trainer: The package.
        releases: Of the trainer, oldest first.
        libraries: Releases of transformers, oldest first.
        culprit: The line that fails, in the newest pair.
        ways: What works in their place.
    """

    trainer: str
    releases: tuple[str, ...]
    libraries: tuple[str, ...]
    culprit: Place
    ways: tuple[WayOut, ...]


@functools.cache
def failing(rule: str, error: str) -> tuple[Failing, ...]:
    """The releases that fail by a rule with an error in one line, in the order of the map."""
    found: dict[tuple[str, str, str], Place] = {}
    for cell in knowledge.shipped().cells:
        trainer = next((name for name in cell.stack if catalog.is_trainer(name)), "")
        for fault in _faults(cell, rule, error) if trainer else ():
            if fault.culprit is not None:
                found[trainer, cell.stack[trainer], cell.stack[LIBRARY]] = fault.culprit
    boxes: list[tuple[ranges.Box, str]] = [
        ({trainer: (release,), LIBRARY: (library,)}, trainer) for trainer, release, library in found
    ]
    return tuple(
        Failing(
            trainer,
            box[trainer],
            box[LIBRARY],
            found[trainer, box[trainer][-1], box[LIBRARY][-1]],
            tuple(_ways(trainer, box[trainer][-1], box[LIBRARY])),
        )
        for box, trainer in ranges.joined(boxes, knowledge.shipped().axes)
    )


def _faults(cell: Cell, rule: str, error: str) -> Iterator[Fault]:
    for fault in knowledge.shipped().run_of(cell).faults:
        if fault.rule == rule and fault.error == error:
            yield fault


def _ways(trainer: str, release: str, libraries: tuple[str, ...]) -> Iterator[WayOut]:
    axes = knowledge.shipped().axes
    newer = axes[trainer][axes[trainer].index(release) + 1 :]
    by_age = ((one, library) for one in reversed(axes[trainer]) for library in reversed(axes[LIBRARY]))

    def next_release(library: str) -> str:
        return next((one for one in newer if _is_sound(trainer, one, library)), "")

    newest = next((pair for pair in by_age if _is_sound(trainer, *pair)), None)
    for found, group in groupby(libraries, key=next_release):
        there = tuple(group)
        admitted = tuple(library for library in there if found and _is_admitted(trainer, found, library))
        yield WayOut(there, found, admitted, None if found else newest)


@functools.cache
def _pairs() -> Pairs:
    return Pairs(knowledge.shipped())


@functools.cache
def _is_sound(trainer: str, release: str, library: str) -> bool:
    """Whether the trainer's own functions work with every model family that was tried."""
    cells = _pairs().cells(trainer, release, library)
    return bool(cells) and all(_pairs().is_sound(cell, trainer) for cell in cells)


def _is_admitted(trainer: str, release: str, library: str) -> bool:
    cells = _pairs().cells(trainer, release, library)
    return bool(cells) and not _pairs().unmet(cells[0])
