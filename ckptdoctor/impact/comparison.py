"""Base and head of a package: what is run of them, and what is found out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ckptdoctor import catalog
from ckptdoctor.environment.index import Index
from ckptdoctor.environment.releases import Release
from ckptdoctor.environment.sources import Sources, is_source
from ckptdoctor.errors import TargetError
from ckptdoctor.impact import choosing, code, contracts, fixes, reliance
from ckptdoctor.impact.code import MODELS, Difference
from ckptdoctor.impact.comparing import Compared, Sides
from ckptdoctor.impact.request import ImpactRequest
from ckptdoctor.matrix import axes
from ckptdoctor.matrix.axes import Axis
from ckptdoctor.matrix.combination import Base, Combination
from ckptdoctor.matrix.environments import Environments
from ckptdoctor.matrix.fingerprints import Reader
from ckptdoctor.matrix.measuring import Measuring, today
from ckptdoctor.matrix.request import MatrixRequest
from ckptdoctor.matrix.run import Work
from ckptdoctor.model.compatibility import Map
from ckptdoctor.model.evidence import Evidence, Setup, Spec
from ckptdoctor.model.impact import SCHEMA, ContractChange, Impact, Side
from ckptdoctor.model.progress import Progress
from ckptdoctor.model.version import __version__
from ckptdoctor.planning.options import FALLBACK_FAMILIES, OWN_MODEL, TORCH
from ckptdoctor.planning.variants import ADAPTER
from ckptdoctor.store import locations
from ckptdoctor.words.wording import listed

BESIDE = ("accelerate",)
"""What trainers' checkpoint functions need beside transformers."""

MOST_SHAPES = 8
"""Families that trainers are tried with: one of each kind of contract."""


class Comparison:
    """Base and head of a package, and what is found out of them."""

    def __init__(
        self,
        request: ImpactRequest,
        options: MatrixRequest,
        named: Sequence[str],
        sides: tuple[Release, Release],
        index: Index,
        measuring: Measuring,
        sources: Sources,
        progress: Progress,
    ) -> None:
        """Run nothing yet; ``named`` are trainers, tried instead of the catalog's."""
        self._request, self._options, self._named = request, options, named
        self.base, self.head = sides
        self._index, self._measuring, self._sources, self._progress = index, measuring, sources, progress
        self._reader = Reader(index.session, locations.cache() / "fingerprints")
        self.sides = Sides(self.base.name, self.base.version, self.head.version)
        self.difference = Difference(matters=False)
        self.compared = Compared()
        self.contracts: list[ContractChange] = []
        self.tried: dict[str, list[str]] = {}
        self.families: list[str] = []
        self._notes: list[str] = []
        self._observed: dict[tuple[str, str], Evidence] = {}

    def run(self) -> None:
        """All of it; nothing where no code that matters differs."""
        if self.base.version == self.head.version:
            return
        self._progress(f"comparing the code of {self.base.name}")
        asked = self._options.options.models
        self.difference = code.between(self.base, self.head, self._index.session, self._reader, asked)
        if not self.difference.matters:
            return
        self._add_beside()
        if self.base.name == MODELS:
            self._of_transformers()
        elif catalog.is_trainer(self.base.name):
            self._of_trainer()
        else:
            self._of_another()
        if self._request.fixes:
            self.compared.changes = fixes.found(self.compared.changes, self._head(), self._progress)

    # -- what is run --------------------------------------------------------------------------------------------------

    def _of_transformers(self) -> None:
        """Every family whose code differs with torch's functions, then trainers with one of each kind of contract."""
        self.families = self._chosen(self.difference.families)
        if not self.families:
            return
        both = self._axis()
        alone = [one for one in self._options.options.functions if one not in catalog.functions()]
        of_all = replace(self._options.options, functions=alone, packed=True, by_family=True)
        self._compare([both], self.families, replace(self._options, options=of_all))
        base, head = (
            {m: e for (r, m), e in self._observed.items() if r == one.version} for one in (self.base, self.head)
        )
        found = list(contracts.changes(base, head))
        trainers = list(self._trainers())
        if trainers:
            chosen = self._representatives()
            self._compare([both, *trainers], chosen)
            if any(one.watched == "switch" for one in found):
                setup = replace(self._options.options, setup=Setup(trainer_switches_on=True))
                self._compare([both, *trainers], chosen[:1], replace(self._options, options=setup))
        self.contracts = reliance.assigned(found, list(self._relying(trainers)) if found else [])

    def _of_trainer(self) -> None:
        """A trainer's functions with releases of transformers, and with every calling convention."""
        models = self._models() or choosing.models(
            (self.base, self.head), self._measuring.target, self._index, self._reader
        )
        conventions = replace(self._options.options, conventions=tuple(catalog.conventions()))
        newest, others = Axis(MODELS, models.releases[-1:]), Axis(MODELS, models.releases[:-1])
        families = self._options.options.models or [choosing.family(models.releases[-1], self._reader)]
        # Together with a model of transformers, which is then imported once for the steps of our own model.
        self._compare([newest, self._axis()], [*families, OWN_MODEL], replace(self._options, options=conventions))
        if others.releases:
            self._compare([others, self._axis()], self._options.options.models)  # none: one that each release has

    def _of_another(self) -> None:
        """A package that training runs on: torch's functions and trainers' newest releases on the newest transformers."""
        newest = self._models() or Axis(MODELS, (choosing.newest(MODELS, self._index),))
        engines = [name for name, one in catalog.engines().items() if one.package == self.base.name]
        asked = replace(self._options.options, engines=self._options.options.engines or ["none", *engines])
        if self.base.name == "peft":
            asked = replace(asked, setup=ADAPTER)  # nothing else uses it
        trainers = [Axis(one.name, one.releases[-1:]) for one in self._trainers()]
        asked_models = self._options.options.models
        self._compare([newest, self._axis(), *trainers], asked_models, replace(self._options, options=asked))

    def _add_beside(self) -> None:
        """What checkpoint functions need and the target lacks, in one release for both sides."""
        there = {canonicalize_name(Requirement(one).name) for one in self._measuring.requirements}
        for name in BESIDE:
            if name not in (*there, self.base.name) and not self._measuring.target.version(name):
                pin = f"{name}=={choosing.newest(name, self._index).version}"
                self._measuring.requirements = [*self._measuring.requirements, pin]

    def _chosen(self, families: Sequence[str]) -> list[str]:
        """Families that differ, of those that are asked for."""
        asked = self._options.options.models
        if not asked:
            return list(families)
        same = [one for one in asked if one in self.difference.alike]
        if same:
            self._notes.append(f"The code of {listed(same)} is the same on both sides: not run.")
        return [one for one in asked if one not in same]

    def _models(self) -> Axis | None:
        """Releases of transformers that are named, in the place of those that would be chosen."""
        named = [one for one in self._options.requirements if self._name(one) == MODELS]
        if not named:
            return None
        [axis] = axes.parse(named, self._index, sources=self._sources)
        others = (one for one in self._measuring.requirements if canonicalize_name(Requirement(one).name) != MODELS)
        self._measuring.requirements = list(others)
        return axis

    def _name(self, text: str) -> str:
        return self._sources.take(text).name if is_source(text) else canonicalize_name(Requirement(text).name)

    def _axis(self) -> Axis:
        return Axis(self.base.name, (self.base, self.head))

    def _trainers(self) -> Iterator[Axis]:
        if self._named:
            yield from axes.parse(self._named, self._index, sources=self._sources)
        elif not self._options.options.functions:
            self._progress("reading what trainers require")
            sides = (self.base, self.head)
            yield from choosing.trainers(sides, self._measuring.target, self._index, self._reader)

    def _compare(self, found: Sequence[Axis], models: Sequence[str], options: MatrixRequest | None = None) -> None:
        options = options or self._options
        asked = replace(options, options=replace(options.options, models=tuple(models)))
        self._measuring.options = asked.options
        read = {
            axis.name: self._reader.fingerprints(axis.name, axis.releases)
            for axis in found
            if catalog.is_trainer(axis.name)
        }
        work = Work(found, read, asked, self._measuring)
        work.run()
        made = work.as_map()
        if self.base.name == MODELS:
            self._observe(models)
        self._note(made, found)
        self.families = self.families or [one for one in made.models() if one]
        self.compared.add(made, self.sides, self._observed, asked.options.setup.trainer_switches_on)

    def _note(self, made: Map, found: Sequence[Axis]) -> None:
        for axis in found:
            if axis.name != self.base.name:
                self.tried.setdefault(axis.name, []).extend(one.version for one in axis.releases)
        self.tried = {name: list(dict.fromkeys(releases)) for name, releases in self.tried.items()}
        self._notes += [one for one in made.notes if one not in self._notes]

    def _observe(self, families: Sequence[str]) -> None:
        """Take the evidence of the usual step with torch's own function from what was measured."""
        for side in (self.base, self.head):
            known = self._measuring.evidence(Combination(((MODELS, side.version),)))
            for family in families:
                evidence = known.get(Spec(family, TORCH[0]).id)
                if evidence is not None:
                    self._observed[side.version, family] = evidence

    def _representatives(self) -> list[str]:
        """One family of each kind of contract, as it was and is."""
        found: dict[tuple[object, ...], str] = {}
        ordered = sorted(self.families, key=lambda one: one not in FALLBACK_FAMILIES)
        for family in ordered:
            before, after = (self._observed.get((one.version, family)) for one in (self.base, self.head))
            if before is not None or after is not None:
                found.setdefault((contracts.shape(before), contracts.shape(after)), family)
        chosen = list(found.values())
        if len(chosen) > MOST_SHAPES:
            self._notes.append(f"Trainers were tried with {MOST_SHAPES} of {len(chosen)} kinds of contracts.")
        return chosen[:MOST_SHAPES] or ordered[:1]

    # -- who relies on it ---------------------------------------------------------------------------------------------

    def _relying(self, trainers: Sequence[Axis]) -> Iterator[reliance.Found]:
        before, after = self.difference.facts or (None, None)
        if before is None or after is None:
            return
        sides = reliance.Sides(
            self.base.version, self.head.version, {self.base.version: before, self.head.version: after}
        )
        target, cache = self._measuring.target, locations.cache()
        with Environments(Path(target.executable), target, cache, self._sources) as environments:
            for axis in trainers:
                newest = axis.releases[-1]
                self._progress(f"reading {axis.name} {newest.version}")
                try:
                    models = environments.overlay(Base("", "", (f"{MODELS}=={self.head.version}",)))
                    folder = environments.trainer(Base(), f"{axis.name}=={newest.version}")
                except TargetError as error:
                    self._notes.append(f"The code of {axis.name} {newest.version} was not read: {error.message}")
                    continue
                yield from reliance.read(axis.name, folder, models, sides)

    # -- what came of it ----------------------------------------------------------------------------------------------

    def _head(self) -> fixes.Head:
        return fixes.Head(
            self._options.python,
            self.head.name,
            self.head.version,
            self._request.head,
            self._measuring.requirements,
            self._sources.located,
            self._options.options.timeout,
        )

    def as_impact(self) -> Impact:
        """All that was found out."""
        target = self._measuring.target
        return Impact(
            schema=SCHEMA,
            version=__version__,
            date=today(),
            python=target.python,
            torch=target.version("torch"),
            platform=target.platform,
            package=self.base.name,
            base=Side(self.base.version, self.base.source),
            head=Side(self.head.version, self.head.source),
            files=self.difference.files,
            families=self.families,
            tried=self.tried,
            compared=self.compared.steps,
            changes=self.compared.changes,
            contracts=self.contracts,
            not_compared=self.compared.not_compared,
            ran=self._measuring.ran,
            notes=[*self._notes, *self._of_families(), *self._index.notes],
        )

    def _of_families(self) -> Iterator[str]:
        for what, names in (("only on the head", self.difference.new), ("only on the base", self.difference.gone)):
            if names:
                yield f"Not compared, since they are {what}: {listed(names, 8)}."
