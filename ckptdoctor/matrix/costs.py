"""How long probes take, as measured: ``python -m ckptdoctor.matrix.costs STORE...`` writes what ships from stores of a map.

Only ratios matter here: a machine that is twice as slow is so for all of them.
"""

from __future__ import annotations

import functools
import sqlite3
import statistics
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import msgspec

from ckptdoctor import catalog
from ckptdoctor.model.evidence import Evidence
from ckptdoctor.store import writing

FILE = Path(__file__).parents[1] / "knowledge" / "costs.json"

USUAL = "none"
"""The engine whose costs stand for those of an engine that was not measured."""


class Costs(msgspec.Struct, frozen=True):
    """Seconds of probes by engine, medians over what was measured."""

    shared: Mapping[str, float]
    """Of all probes with one model in one base that need no trainer."""
    trainers: Mapping[str, Mapping[str, float]]
    """Of all probes with one release of a trainer besides."""

    def of_trainer(self, name: str, engines: Iterable[str]) -> float:
        """Seconds that a release of a trainer takes; a trainer that was not measured counts as the mean of the others."""
        known = [self.trainers[name]] if name in self.trainers else list(self.trainers.values())
        return sum(statistics.mean(_under(one, engine) for one in known) for engine in engines)

    def of_base(self, engines: Iterable[str]) -> float:
        """Seconds that a model takes in a base before any trainer is added."""
        return sum(_under(self.shared, engine) for engine in engines)


def _under(by_engine: Mapping[str, float], engine: str) -> float:
    return by_engine.get(engine, by_engine.get(USUAL, 0.0))


@functools.cache
def shipped() -> Costs:
    """What was measured with the shipped maps: the same in every job."""
    return msgspec.json.decode(FILE.read_bytes(), type=Costs)


def measured(stores: Iterable[Path]) -> Costs:
    """Costs from all evidence in some stores."""
    sums: dict[tuple[str, str, str, str], float] = {}
    for base, evidence in _all(stores):
        model, _, engine, *more = evidence.id.split("/")
        added = next((one for one in more if "==" in one), "")
        place = (base, model, engine, added)
        sums[place] = sums.get(place, 0.0) + evidence.seconds
    shared: dict[str, list[float]] = {}
    trainers: dict[str, dict[str, list[float]]] = {}
    for (_, _, engine, added), seconds in sums.items():
        where = trainers.setdefault(added.partition("==")[0], {}) if added else shared
        where.setdefault(engine, []).append(seconds)
    return Costs(
        _medians(shared), {name: _medians(each) for name, each in sorted(trainers.items()) if catalog.is_trainer(name)}
    )


def _medians(by_engine: Mapping[str, list[float]]) -> dict[str, float]:
    return {engine: round(statistics.median(each), 2) for engine, each in sorted(by_engine.items())}


def _all(stores: Iterable[Path]) -> Iterator[tuple[str, Evidence]]:
    for store in stores:
        with closing(sqlite3.connect(f"{store.absolute().as_uri()}?mode=ro", uri=True)) as database:
            for base, body in database.execute("SELECT base, body FROM results WHERE kind = 'evidence'"):
                yield base, msgspec.json.decode(zlib.decompress(body), type=Evidence)


if __name__ == "__main__":
    writing.keep(FILE, msgspec.json.format(msgspec.json.encode(measured(map(Path, sys.argv[1:]))), indent=1) + b"\n")
