"""Releases that train some model families: measured ones first, then guesses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from packaging.version import Version

from ckptdoctor import catalog, knowledge
from ckptdoctor.knowledge import Worked
from ckptdoctor.model.compatibility import Cell
from ckptdoctor.model.evidence import Environment
from ckptdoctor.model.report import DECIDED
from ckptdoctor.planning.options import OWN_MODEL, first_of_all
from ckptdoctor.remedies.candidates import Candidate, Newer, by_step
from ckptdoctor.rules import Case
from ckptdoctor.words.wording import listed

T = TypeVar("T")


@dataclass(frozen=True)
class Search:
    """A search for releases with which a trainer's functions train some model families.

    Attributes:
        package: The trainer.
        models: Model families; each must train.
        functions: The trainer's functions that fail.
        environment: The target.
        edited: Installed packages that differ from their release, so its measurements do not apply.
        is_usual: Whether the fault was seen in the usual step. Only this step was measured, not packed sequences, other
            variants, or Trainer's own call after the trainer.
    """

    package: str
    models: tuple[str, ...]
    functions: tuple[str, ...]
    environment: Environment
    edited: frozenset[str] = frozenset()
    is_usual: bool = True

    @property
    def trainer(self) -> str:
        """The installed release of the trainer."""
        return self.environment.version(self.package)

    @property
    def transformers(self) -> str:
        """The installed release of transformers."""
        return self.environment.version("transformers")

    @property
    def is_measured(self) -> bool:
        """Whether these families and this step were measured."""
        return self.is_usual and set(self.models) <= set(knowledge.load().models())

    def trainer_releases(self, newer: Newer | None = None) -> list[Candidate]:
        """Other releases of the trainer, the smallest step first; guesses with ``newer``, if none was measured."""
        known = self._known("version", transformers=self.transformers)
        found = self._as_released(self.package, known)
        found += [Candidate({self.package: one}, tuple(known[one])) for one in by_step(known, self.trainer)]
        if found or newer is None:
            return found
        likely = by_step(self._likely("version", transformers=self.transformers), self.trainer)
        guesses = self._newer(self.package, self.trainer, newer)
        if self.transformers not in self._axis("transformers"):
            # This transformers was not measured: the newest trainer is the likeliest to work with it.
            guesses += [one for one in self._axis(self.package)[-1:] if one != self.trainer]
        return [Candidate({self.package: one}) for one in dict.fromkeys([*likely, *guesses])]

    def transformers_releases(self, newer: Newer | None = None) -> list[Candidate]:
        """Other releases of transformers, in the same way."""
        known = self._known("transformers", **{self.package: self.trainer})
        found = self._as_released("transformers", known)
        found += [Candidate({"transformers": one}, tuple(known[one])) for one in by_step(known, self.transformers)]
        if found or newer is None:
            return found
        guesses = self._newer("transformers", self.transformers, newer)
        if self.trainer in self._axis(self.package):
            guesses, trainer = guesses[:1], self.trainer
        else:
            # A trainer newer than the measurements is likely to work with the same transformers as the last measured one.
            trainer = (self._axis(self.package) or [""])[-1]
        likely = by_step(self._likely("transformers", **{self.package: trainer}), self.transformers)
        return [Candidate({"transformers": one}) for one in dict.fromkeys([*guesses, *likely])]

    def pairs(self) -> list[Candidate]:
        """Releases of both that are known to work together, the newest first."""
        each: list[dict[tuple[Version, Version], list[Worked]]] = []
        for model in self.models:
            pairs: dict[tuple[Version, Version], list[Worked]] = {}
            for one in knowledge.works(self.package, model):
                pairs.setdefault((Version(one.transformers), Version(one.version)), []).append(one)
            each.append({pair: found for pair, found in pairs.items() if self._suffice(found)})
        together = _of_all(each) if self.is_usual else {}
        return [
            Candidate({"transformers": found[0].transformers, self.package: found[0].version}, tuple(found))
            for _, found in sorted(together.items(), reverse=True)
        ]

    def other_pairs(self) -> list[Candidate]:
        """Pairs in which both releases differ from the installed ones."""
        return [
            one
            for one in self.pairs()
            if one.changes["transformers"] != self.transformers and one.changes[self.package] != self.trainer
        ]

    def newest_pair(self) -> Candidate | None:
        """The newest pair that is known to work, whichever of the two is installed already."""
        return next(iter(self.pairs()), None)

    def impasse(self, pair: Mapping[str, str] | None = None, tried: Sequence[str] | None = None) -> str:
        """A sentence if no release of the trainer works with the installed transformers, with the newest pair that works.

        Args:
            pair: The newest pair that worked here; by default, the newest measured one.
            tried: Other releases of the trainer that were tried here and did not help.
        """
        which = self._which(tried)
        if not which:
            return ""
        found = self.newest_pair()
        pair = pair or (found.changes if found else None)
        none = f"{which} has a checkpoint function that works with transformers {self.transformers}"
        if pair is None and not self.is_measured:
            names = [model.rpartition("/")[2] for model in self.models]
            return f"{none}. With other releases, {listed(names)} {'was' if len(names) == 1 else 'were'} not measured."
        if pair is None:
            return f"{none}, and no pair that works is known."
        newest = f"transformers {pair['transformers']} with {self.package} {pair[self.package]}"
        return f"{none}; the newest pair that works is {newest}."

    def _which(self, tried: Sequence[str] | None) -> str:
        """The releases that do not work, as the start of a sentence; empty if one works, or may work."""
        here = [] if "transformers" in self.edited or not self.is_usual else self._cells_here()
        if not here:
            also = sorted({*(tried or ()), self.trainer}, key=Version)
            return f"No release of {self.package} that was tried here ({listed(also)})" if tried else ""
        if any(cell.verdict not in DECIDED for cell in here) or self._known("version", transformers=self.transformers):
            return ""
        newest = max((*(cell.stack[self.package] for cell in here), *(tried or ())), key=Version)
        return f"No release of {self.package} up to {newest}"

    def _cells_here(self) -> list[Cell]:
        """Measurements of the trainer's releases with the installed transformers and each of the families."""
        known = knowledge.load()
        each = [
            [
                cell
                for cell in known.matching({"transformers": self.transformers}, model)
                if self.package in cell.stack and cell.model
            ]
            for model in self.models
        ]
        return [cell for cells in each for cell in cells] if all(each) else []

    def _known(self, axis: str, **fixed: str) -> dict[str, list[Worked]]:
        """Releases along an axis with which all functions that matter are ok, for each of the families."""
        if self.edited & fixed.keys() or not self.is_usual:
            return {}
        return _of_all([self._sufficient(model, axis, fixed) for model in self.models])

    def _likely(self, axis: str, **fixed: str) -> list[str]:
        """Releases that work with most of the measured families: guesses for another family."""
        count: Counter[str] = Counter()
        for model in knowledge.load().models():
            count.update(self._sufficient(model, axis, fixed).keys())
        most = max(count.values(), default=0)
        return [release for release in count if count[release] == most]

    def _sufficient(self, model: str, axis: str, fixed: Mapping[str, str]) -> dict[str, list[Worked]]:
        by_release: dict[str, list[Worked]] = {}
        for one in knowledge.works(self.package, model, **fixed):
            by_release.setdefault(getattr(one, axis), []).append(one)
        return {release: found for release, found in by_release.items() if self._suffice(found)}

    def _as_released(self, package: str, known: Mapping[str, list[Worked]]) -> list[Candidate]:
        """The installed release itself, to replace an edited copy."""
        release = self.environment.version(package)
        if package not in self.edited or release not in known:
            return []
        return [Candidate({package: release}, tuple(known[release]), frozenset({package}))]

    def _suffice(self, found: Iterable[Worked]) -> bool:
        return {one.judged.function for one in found} >= first_of_all(self.functions)

    def _axis(self, package: str) -> list[str]:
        return knowledge.load().axes.get(package, [])

    def _newer(self, package: str, installed: str, newer: Newer) -> list[str]:
        """Releases that are newer than the measured ones and newer than the installed one."""
        after = max([installed, *self._axis(package)[-1:]], key=Version)
        return list(newer(package, after))


def _of_all(each: Sequence[dict[T, list[Worked]]]) -> dict[T, list[Worked]]:
    """Measurements of all families together."""
    first, *others = each
    return {key: [one for known in each for one in known[key]] for key in first if all(key in one for one in others)}


def search(
    cases: list[Case], environment: Environment, edited: Iterable[str] = (), others: Iterable[Case] = ()
) -> Search | None:
    """The search for a finding; nothing if releases of one trainer and of transformers are not the cause.

    The usual step without an engine was measured, so nothing is searched if the fault does not show there.

    Args:
        cases: The probes of the finding.
        environment: The target.
        edited: Packages that differ from their release.
        others: All probes: their models must train as well.
    """
    functions = sorted({case.spec.function for case in cases})
    subjects = [*cases, *(case for case in others if case.planned.role == "subject")]
    models = sorted({case.evidence.family or case.spec.model for case in subjects} - {OWN_MODEL})
    packages = {name.split(":")[0] for name in functions}
    if len(packages) != 1 or not models or not any(case.shows_in_the_usual_step() for case in cases):
        return None
    usual = any(not case.spec.variant and not case.spec.setup.trainer_switches_on for case in cases)
    made = Search(packages.pop(), tuple(models), tuple(functions), environment, frozenset(edited), usual)
    return made if catalog.is_trainer(made.package) and made.trainer and made.transformers else None
