"""What is known of model families with torch's own checkpoint functions, by release of transformers."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Collection, Sequence
from typing import NamedTuple

from ckptdoctor import knowledge
from ckptdoctor.knowledge.pairs import MODEL_LIBRARY
from ckptdoctor.model.answer import SCHEMA, Answer, Known, OfFamily
from ckptdoctor.model.compatibility import Cell, Fault, How, Map, Run
from ckptdoctor.model.explanation import Combination
from ckptdoctor.model.report import Verdict
from ckptdoctor.words.wording import counted, listed

_THESE = "these releases of transformers"
_NAMED = 12
"""Families that a sentence names."""


class Told(NamedTuple):
    """A family in a release of transformers."""

    family: str
    release: str
    verdict: Verdict
    """``error``: the family does not run tiny, so nothing is known."""
    how: How
    run: Run
    """What was run: this release, or one whose code that matters for the family is the same."""
    found: Map
    """The map that says so."""

    @property
    def rules(self) -> tuple[str, ...]:
        """Of the faults that were found."""
        return tuple(sorted({fault.rule for fault in _errors(self.run)})) if self.verdict == "fail" else ()

    @property
    def sentence(self) -> str:
        """What is known, and how."""
        return f"{self.family} with transformers {self.release} {self._what}, {self._how}."

    @property
    def known(self) -> Known:
        """The verdict, as an answer has it."""
        return "works" if self.verdict == "ok" else "fails" if self.verdict == "fail" else "not known"

    def as_answer(self) -> OfFamily:
        """The same for an answer."""
        here = self.run.here
        return OfFamily(self.family, self.release, self.known, self.sentence, self.rules, self.how, self.run.date, here)

    @property
    def _what(self) -> str:
        if self.verdict == "ok":
            but = "; ".join(dict.fromkeys(_in_words(fault) for fault in self.run.faults if fault.severity == "warning"))
            return "trains with torch's own checkpoint functions" + (f", with a warning: {but}" if but else "")
        if self.verdict == "fail":
            faults = "; ".join(dict.fromkeys(map(_in_words, _errors(self.run))))
            return f"fails with torch's own checkpoint functions: {faults}"
        return f"is not known, because a tiny model of it does not run ({self.run.summary.rstrip('.')})"

    @property
    def _how(self) -> str:
        measured = knowledge.measured(self.run, self.found)
        if self.how == "measured":
            return measured
        return f"inferred from transformers {self.run.stack[MODEL_LIBRARY]}, whose code for it is the same, {measured}"


def load() -> Map:
    """The map of all families."""
    return knowledge.load(knowledge.FAMILIES_FILE)


def told(family: str, releases: Collection[str] | None = None) -> list[Told]:
    """What is known of a family, oldest release first; of all releases, or of some."""
    known = load()
    return [
        said_by(cell, known)
        for cell in known.cells
        if cell.model == family and (releases is None or cell.stack[MODEL_LIBRARY] in releases)
    ]


def said_by(cell: Cell, found: Map) -> Told:
    """What a cell of a map says, in which nothing but torch's own functions was tried."""
    return Told(cell.model, cell.stack[MODEL_LIBRARY], cell.verdict, cell.how, found.run_of(cell), found)


def failing(release: str) -> dict[str, Told]:
    """The families that fail in a release, by name."""
    return {cell.model: said_by(cell, load()) for cell in _failing(id(load())).get(release, [])}


@functools.lru_cache(maxsize=1)
def _failing(number: int) -> dict[str, list[Cell]]:
    """The cells of the map of all families that fail, by release."""
    del number  # it tells one loaded map from another
    return _failing_in(load())


def _failing_in(found: Map) -> dict[str, list[Cell]]:
    cells: dict[str, list[Cell]] = {}
    for cell in found.cells:
        if cell.verdict == "fail":
            cells.setdefault(cell.stack[MODEL_LIBRARY], []).append(cell)
    return cells


def answered(family: str, found: Sequence[Told], whole: Sequence[Told] | None = None) -> Answer:
    """What is known of a family in some releases.

    Args:
        family: Its name.
        found: What is known of these releases, oldest first.
        whole: What is known of all releases, if that is at hand.
    """
    known, summary = _in_words_of(found) if found else ("not known", f"{family} was not measured in {_THESE}.")
    nearest: tuple[Combination, ...] = ()
    if len(found) == 1 and known == "fails":
        other = _working(family, found[0].release, told(family) if whole is None else whole)
        if other is not None:
            command = f"pip install '{MODEL_LIBRARY}=={other.release}'"
            nearest = (Combination(other.sentence, other.how, works=True, command=command),)
    return Answer(SCHEMA, known, summary, (), nearest, families=tuple(one.as_answer() for one in found))


def _in_words_of(found: Sequence[Told]) -> tuple[Known, str]:
    """What is known of a family in one release or several, in a sentence or two."""
    family = found[0].family
    if len(found) == 1:
        return found[0].known, found[0].sentence
    works = [one for one in found if one.verdict == "ok"]
    unknown = sum(one.verdict == "error" for one in found)
    text = f"{family} trains with torch's own checkpoint functions in {len(works)} of {counted(len(found), 'release')}."
    text += f" In {unknown}, a tiny model of it does not run." if unknown else ""
    text += f" The newest in which it trains is transformers {works[-1].release}." if works else ""
    if len(works) == len(found):
        return "works", text
    fails = len(found) - len(works) - unknown
    return "fails" if fails and not works else "some work" if works else "not known", text


def working_release(family: str, release: str) -> str:
    """The release nearest to one in which a family trains; the newer one of two; empty if there is none."""
    found = _working(family, release, told(family))
    return found.release if found else ""


def _working(family: str, release: str, whole: Sequence[Told]) -> Told | None:
    order = whole[0].found.axes[MODEL_LIBRARY] if whole else []
    works = [one for one in whole if one.verdict == "ok"]
    if release not in order or not works:
        return None
    return min(works, key=lambda one: (abs(order.index(one.release) - order.index(release)), -order.index(one.release)))


def not_run(release: str, asked: Sequence[str]) -> list[str]:
    """A sentence on each of some families that fails in a release, for a report that has not run it."""
    found = failing(release) if release and asked else {}
    return [f"Known, and not run here: {found[family].sentence}" for family in asked if family in found]


def remark(release: str) -> str:
    """A sentence on the families that fail in a release; empty if there are none, or the release was not measured."""
    return _remarks(id(load())).get(release, "")


@functools.lru_cache(maxsize=1)
def _remarks(number: int) -> dict[str, str]:
    del number  # it tells one loaded map from another
    return remarks(load())


def remarks(found: Map) -> dict[str, str]:
    """By release of transformers, a sentence on the families that fail in it; nothing where none does."""
    there = Counter(cell.stack[MODEL_LIBRARY] for cell in found.cells)
    return {
        release: f"With torch's own checkpoint functions, {len(cells)} of {counted(there[release], 'family')} "
        f"of models fail in transformers {release}: {listed(sorted(cell.model for cell in cells), limit=_NAMED)}. "
        f"`ckptdoctor known transformers=={release} --model FAMILY` says how."
        for release, cells in _failing_in(found).items()
    }


def _errors(run: Run) -> list[Fault]:
    return [fault for fault in run.faults if fault.severity == "error"]


def _in_words(fault: Fault) -> str:
    error = f": {fault.error.rstrip('.')}" if fault.error else ""
    return f"{fault.title}{error} ({fault.rule})"
