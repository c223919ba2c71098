"""What is known of a trainer's release with a release of transformers, and the nearest that work together."""

from __future__ import annotations

import bisect
import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from packaging.version import InvalidVersion, Version

from ckptdoctor import catalog, knowledge
from ckptdoctor.model import declared
from ckptdoctor.model.answer import Pair
from ckptdoctor.model.compatibility import Cell, How, Map
from ckptdoctor.model.explanation import Combination
from ckptdoctor.model.report import DECIDED
from ckptdoctor.words.wording import listed

MODEL_LIBRARY = "transformers"
"""The package whose models are trained."""


class _Enough(NamedTuple):
    """Releases of one package that work with a release of another, oldest first."""

    versions: list[Version]
    cells: list[list[Cell]]
    admitted: list[bool]
    """Whether the requirements of both admit it."""


class Pairs:
    """A map by what questions name. What many questions have in common is looked up once.

    Args:
        found: A map with transformers, in which no combination has several cells with the same model.
    """

    def __init__(self, found: Map) -> None:
        self.found = found
        self.models = found.models()
        self.engines = sorted({one.engine for run in found.runs for one in run.functions} - {"none"})
        self._there = {(cell.stack.get(MODEL_LIBRARY), cell.model) for cell in found.cells}
        self._cells: dict[tuple[str, str, str], list[Cell]] = {}
        for cell in found.cells:
            for name, release in cell.stack.items():
                if catalog.is_trainer(name) and MODEL_LIBRARY in cell.stack:
                    self._cells.setdefault((name, release, cell.stack[MODEL_LIBRARY]), []).append(cell)
        self._enough: dict[tuple[str, ...], _Enough] = {}
        self._told: dict[tuple[str, ...], Combination] = {}
        self._unmet: dict[tuple[tuple[str, str], ...], tuple[str, ...]] = {}
        self._pairs: dict[tuple[str, ...], Pair | None] = {}

    def models_for(self, family: str) -> list[str]:
        """The families that must agree: the one that is asked for if it was measured, else all."""
        return [family] if family in self.models else self.models

    def has(self, library: str, family: str) -> bool:
        """Whether the map has anything of a family in a release of transformers."""
        return (library, family) in self._there

    def cells(self, trainer: str, release: str, transformers: str, family: str = "") -> list[Cell]:
        """The cells of a pair, of the families that must agree."""
        models = self.models_for(family)
        there = self._cells.get((trainer, release, transformers), [])
        return [cell for model in models for cell in there if cell.model in (model, "")]

    def unmet(self, cell: Cell) -> tuple[str, ...]:
        """Declared requirements of a cell's own releases that it does not meet."""
        stack = tuple(cell.stack.items())
        if stack not in self._unmet:
            self._unmet[stack] = tuple(declared.unmet(cell.stack, self.found))
        return self._unmet[stack]

    def pair(self, trainer: str, release: str, transformers: str, family: str) -> Pair | None:
        """What is known of a pair; none if it has no verdict."""
        key = (trainer, release, transformers, family if family in self.models else "")
        if key not in self._pairs:
            self._pairs[key] = self._pair(*key)
        return self._pairs[key]

    def _pair(self, trainer: str, release: str, transformers: str, family: str) -> Pair | None:
        cells = [cell for cell in self.cells(trainer, release, transformers, family) if cell.verdict in DECIDED]
        if not cells:
            return None
        works = all(cell.verdict == "ok" for cell in cells)
        runs = [self.found.run_of(cell) for cell in cells]
        rules = sorted({fault.rule for run in runs for fault in run.faults if fault.severity == "error"})
        oldest = min(runs, key=lambda run: run.date)
        torch = oldest.packages.get("torch") or self.found.torch
        here = any(run.here for run in runs)
        rules, unmet = [] if works else rules, self.unmet(cells[0])
        return Pair(trainer, release, transformers, works, tuple(rules), _least(cells), unmet, oldest.date, torch, here)

    def combinations(self, package: str, releases: dict[str, str], family: str, rule: str) -> list[Combination]:
        """Measurements of a trainer's release with a release of transformers, and the releases that work with either.

        Args:
            package: The trainer.
            releases: Exact releases, one a package.
            family: The model family; if it was not measured, all measured families must agree.
            rule: The rule of an error that was met.
        """
        if not catalog.is_trainer(package):
            return []
        stack = {name: releases[name] for name in (package, MODEL_LIBRARY) if releases.get(name)}
        found = list(self._this_stack(package, stack, family, rule)) if len(stack) == 2 else []
        return [*found, *self.nearest(package, releases, family)]

    def nearest(self, package: str, releases: dict[str, str], family: str) -> Iterator[Combination]:
        """For each of both releases the nearest of the other package that works with it: the next one up, else the next down.

        If the releases' own requirements do not admit that, the nearest that they admit comes as well.
        """
        for kept, varied in ((MODEL_LIBRARY, package), (package, MODEL_LIBRARY)):
            if releases.get(kept):
                yield from self._nearest(package, (kept, releases[kept]), varied, releases.get(varied, ""), family)

    def _this_stack(self, package: str, stack: dict[str, str], family: str, rule: str) -> Iterator[Combination]:
        there = self.cells(package, stack[package], stack[MODEL_LIBRARY], family)
        cells = [cell for cell in there if cell.verdict in DECIDED]
        for works in (False, True):
            those = [cell for cell in cells if self.is_sound(cell, package) == works]
            if those:
                codes = {fault.rule for cell in those for fault in self.found.run_of(cell).faults}
                fails = f"fails with {'the same rule' if rule in codes else listed(sorted(codes)) or 'another result'}"
                sentence = (
                    f"{_names(stack)} {'works' if works else fails}, for {_with(those, family)}; {self._how(those)}."
                )
                yield Combination(sentence, _least(those), works)

    def _nearest(
        self, package: str, kept: tuple[str, str], varied: str, current: str, family: str
    ) -> Iterator[Combination]:
        enough = self._sound_with(package, kept, varied, family)
        here = _version(current)
        if here in enough.versions:
            return
        at = _closest(enough.versions, here)
        if at is None:
            return
        yield self._combination(kept, varied, enough.cells[at], family, "" if current else "that works")
        if not enough.admitted[at]:
            those = [number for number, admitted in enumerate(enough.admitted) if admitted]
            best = _closest([enough.versions[number] for number in those], here)
            if best is not None:
                newest = "" if current else "that works and that requirements admit"
                yield self._combination(kept, varied, enough.cells[those[best]], family, newest)

    def _sound_with(self, package: str, kept: tuple[str, str], varied: str, family: str) -> _Enough:
        """What works with a release, in each family that has it and must agree."""
        key = (package, *kept, family if family in self.models else "")
        if key not in self._enough:
            found = []
            for release in sorted(self.found.axes.get(varied, ()), key=_order):
                trainer, library = (release, kept[1]) if catalog.is_trainer(varied) else (kept[1], release)
                cells = self.cells(package, trainer, library, family)
                version = _version(release)
                if version is not None and cells and all(self.is_sound(cell, package) for cell in cells):
                    found.append((version, cells, not self.unmet(cells[0])))
            self._enough[key] = _Enough(*([one[part] for one in found] for part in range(3)))  # type: ignore[arg-type]
        return self._enough[key]

    def _combination(
        self, kept: tuple[str, str], varied: str, cells: Sequence[Cell], family: str, newest: str
    ) -> Combination:
        release = cells[0].stack[varied]
        key = (*kept, varied, release, family, newest)
        if key not in self._told:
            alone = "--no-deps " if catalog.is_trainer(varied) else ""
            which = f", the newest {newest}" if newest else ""
            self._told[key] = Combination(
                f"{varied} {release} works with {' '.join(kept)}{which}, for {_with(cells, family)}; {self._how(cells)}."
                f"{self._whether_admitted(cells[0])}",
                _least(cells),
                works=True,
                command=f"pip install {alone}'{varied}=={release}'",
            )
        return self._told[key]

    def _whether_admitted(self, cell: Cell) -> str:
        unmet = self.unmet(cell)
        if unmet:
            return f" {listed(unmet)}: pip warns of it, or refuses if it has to install both."
        is_known = any(release in self.found.requires.get(name, {}) for name, release in cell.stack.items())
        return " Their own requirements admit it." if is_known else ""

    def is_sound(self, cell: Cell, package: str) -> bool:
        """Whether all of the trainer's own functions trained, without an engine."""
        own = [
            one
            for one in self.found.run_of(cell).functions
            if one.function.split(":")[0] == package and one.engine == "none"
        ]
        return cell.verdict == "ok" and bool(own) and all(one.verdict == "ok" for one in own)

    def _how(self, cells: Sequence[Cell]) -> str:
        """When it was measured, or from which run it was inferred."""
        stood_in = any(one.forward_only for cell in cells for one in self.found.run_of(cell).functions)
        gpu = ", with backward simulated on the CPU for functions that need a GPU" if stood_in else ""
        inferred = next((cell for cell in cells if cell.how == "inferred"), None)
        run = self.found.run_of(inferred or cells[0])
        how = (
            f"inferred from {' and '.join(f'{name} {release}' for name, release in run.stack.items())}, "
            "which has the same code where it matters, "
            if inferred
            else ""
        )
        alone = "" if self.engines else ", without an engine"
        return f"{how}{knowledge.measured(run, self.found)}{alone}{gpu}"


@functools.lru_cache(maxsize=1)
def _of(number: int) -> Pairs:
    del number  # it tells one loaded map from another
    return Pairs(knowledge.load())


def known() -> Pairs:
    """What is known on this machine: what ships, and what was measured here."""
    return _of(id(knowledge.load()))


def combinations(package: str, releases: dict[str, str], family: str, rule: str) -> list[Combination]:
    """The same of what is known on this machine: see ``Pairs.combinations``."""
    return known().combinations(package, releases, family, rule)


def models_for(family: str) -> list[str]:
    """The families that must agree: the one that is asked for if it was measured, else all."""
    return known().models_for(family)


def _closest(versions: Sequence[Version], here: Version | None) -> int | None:
    """The next one up, else the last."""
    if not versions:
        return None
    above = len(versions) if here is None else bisect.bisect_right(versions, here)
    return min(above, len(versions) - 1)


@functools.lru_cache(maxsize=4096)
def _version(text: str) -> Version | None:
    try:
        return Version(text)
    except InvalidVersion:
        return None


def _order(release: str) -> tuple[bool, Version]:
    found = _version(release)
    return found is None, found or Version("0")


def _names(stack: dict[str, str]) -> str:
    return " with ".join(f"{name} {release}" for name, release in stack.items())


def _with(cells: Sequence[Cell], family: str) -> str:
    models = list(dict.fromkeys(cell.model for cell in cells))
    if not family or family in models:
        return listed(models)
    return f"{listed(models)} ({family} was not measured)"


def _least(cells: Sequence[Cell]) -> How:
    return "measured" if all(cell.how == "measured" for cell in cells) else "inferred"
