"""What is known of model families with torch's own checkpoint functions, by release of transformers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from ckptdoctor import knowledge
from ckptdoctor.knowledge.pairs import MODEL_LIBRARY
from ckptdoctor.model.answer import Known, OfFamily
from ckptdoctor.model.compatibility import Fault, How, Map, Run
from ckptdoctor.model.report import Verdict
from ckptdoctor.words.wording import counted, listed

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
        measured = knowledge.measured(self.run, load())
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
        Told(cell.model, cell.stack[MODEL_LIBRARY], cell.verdict, cell.how, known.run_of(cell))
        for cell in known.cells
        if cell.model == family and (releases is None or cell.stack[MODEL_LIBRARY] in releases)
    ]


def failing(release: str) -> dict[str, Told]:
    """The families that fail in a release, by name."""
    known = load()
    return {
        cell.model: Told(cell.model, release, cell.verdict, cell.how, known.run_of(cell))
        for cell in known.cells
        if cell.verdict == "fail" and cell.stack[MODEL_LIBRARY] == release
    }


def answer(family: str, found: Sequence[Told]) -> tuple[Known, str]:
    """What is known of a family in some releases, and that in a sentence or two."""
    if not found:
        return "not known", f"{family} was not measured in these releases of transformers."
    if len(found) == 1:
        one = found[0]
        other = working_release(family, one.release) if one.verdict == "fail" else ""
        return one.known, one.sentence + (f" It trains in transformers {other}." if other else "")
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
    order = load().axes[MODEL_LIBRARY]
    works = [one.release for one in told(family) if one.verdict == "ok"]
    if release not in order or not works:
        return ""
    return min(works, key=lambda one: (abs(order.index(one) - order.index(release)), -order.index(one)))


def not_run(release: str, asked: Sequence[str]) -> list[str]:
    """A sentence on each of some families that fails in a release, for a report that has not run it."""
    found = failing(release) if release and asked else {}
    return [f"Known, and not run here: {found[family].sentence}" for family in asked if family in found]


def remark(release: str) -> str:
    """A sentence on the families that fail in a release; empty if there are none, or the release was not measured."""
    found = sorted(failing(release))
    if not found:
        return ""
    known = load()
    all_of_it = sum(cell.stack[MODEL_LIBRARY] == release for cell in known.cells)
    return (
        f"With torch's own checkpoint functions, {len(found)} of {counted(all_of_it, 'family')} "
        f"of models fail in transformers {release}: {listed(found, limit=_NAMED)}. `ckptdoctor known transformers=={release} "
        "--model FAMILY` says how."
    )


def _errors(run: Run) -> list[Fault]:
    return [fault for fault in run.faults if fault.severity == "error"]


def _in_words(fault: Fault) -> str:
    error = f": {fault.error.rstrip('.')}" if fault.error else ""
    return f"{fault.title}{error} ({fault.rule})"
