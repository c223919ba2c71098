"""Composes the answer to a question about releases out of a map, in sentences."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

from ckptdoctor import catalog
from ckptdoctor.knowledge.pairs import MODEL_LIBRARY, Pairs
from ckptdoctor.model.answer import SCHEMA, Answer, Known, Pair
from ckptdoctor.model.compatibility import Map
from ckptdoctor.model.explanation import Combination
from ckptdoctor.model.report import DECIDED
from ckptdoctor.words.wording import counted, gist, listed


def of_releases(known: Pairs, asked: Mapping[str, Sequence[str]], exact: Mapping[str, str], family: str) -> Answer:
    """What a map says of some releases.

    Args:
        known: The map.
        asked: The releases that are asked about, by package.
        exact: The release of each package of which only one is asked about, whether or not the map has it.
        family: A model family; without one, all of the map must agree. Of one that the map does not have, nothing is known, and
            what is known of other families is told.
    """
    trainers = [name for name in asked if catalog.is_trainer(name)]
    found = [
        pair for name in trainers or _all_trainers(known.found.axes) for pair in _pairs(known, name, asked, family)
    ]
    if len(trainers) != 1:
        found = [pair for pair in found if MODEL_LIBRARY in asked or pair.trainer in asked]
    said, summary = _summary(known, found, family)
    if not found and len(trainers) == 1:
        summary = _undecided(known, trainers[0], exact, family) or f"{summary}{_lacking(known, exact, family)}"
    is_other = bool(found and family and family not in known.models)
    if found:
        others = f"{family} was not measured with a trainer; other families: " if is_other else ""
        summary = f"{others}{summary}{_when(found)}{_families(known, found, family)}"
    nearest: tuple[Combination, ...] = ()
    if said != "works" and len(trainers) == 1 and exact:
        nearest = tuple(known.nearest(trainers[0], dict(exact), family))
    return Answer(SCHEMA, "not known" if is_other else said, summary, tuple(found), nearest)


def _all_trainers(axes: Mapping[str, Sequence[str]]) -> list[str]:
    return [name for name in axes if catalog.is_trainer(name)]


def _pairs(known: Pairs, trainer: str, asked: Mapping[str, Sequence[str]], family: str) -> Iterator[Pair]:
    """Each pair of releases that is known, oldest first."""
    axes = known.found.axes
    for release, transformers in itertools.product(
        asked.get(trainer, axes[trainer]), asked.get(MODEL_LIBRARY, axes[MODEL_LIBRARY])
    ):
        pair = known.pair(trainer, release, transformers, family)
        if pair is not None:
            yield pair


def _families(known: Pairs, found: Sequence[Pair], family: str) -> str:
    """A sentence on the families that this is known of."""
    there = [_models(known, pair, family) for pair in found]
    some = [model for model in known.models_for(family) if any(model in models for models in there)]
    every = [model for model in some if all(model in models for models in there)]
    if not "".join(some):
        return ""
    text = f"This is known for {listed(some, limit=len(some))}"
    text += f", but not every pair for {listed([one for one in some if one not in every])}" if every != some else ""
    if known.engines:
        return f" {text}; other families were not measured."
    return f" {text}, without an engine such as DeepSpeed; it says nothing of other families and engines."


def _models(known: Pairs, pair: Pair, family: str) -> set[str]:
    cells = known.cells(pair.trainer, pair.release, pair.transformers, family)
    return {cell.model for cell in cells if cell.verdict in DECIDED}


def _when(found: Sequence[Pair]) -> str:
    """A sentence on when several pairs were measured; the sentence on a single pair says so itself."""
    if len(found) < 2:
        return ""
    dates = sorted({pair.date for pair in found})
    days = f"on {dates[0]}" if len(dates) == 1 else f"from {dates[0]} to {dates[-1]}"
    here = sum(pair.here for pair in found)
    return f" Measured {days}{f', {here} of them here' if here else ''}."


def _summary(known: Pairs, found: Sequence[Pair], family: str) -> tuple[Known, str]:
    if not found:
        return "not known", "These releases were not measured together."
    if len(found) == 1:
        return _of_one(known, found[0], family)
    working = [one for one in found if one.works]
    if not working:
        return "fails", f"None of the {len(found)} pairs that this admits works: {_rules(found)}."
    said: Known = "works" if len(working) == len(found) else "some work"
    newest = {one.trainer: one for one in working}
    admitted = {one.trainer: one for one in working if not one.unmet}
    text = f"{len(working)} of {counted(len(found), 'pair')} that this admits work; {_newest(newest, 'the newest')}."
    if admitted and admitted != newest:
        text += f" {_newest(admitted, 'The newest whose own requirements admit each other')}."
    return said, text


def _newest(by_trainer: Mapping[str, Pair], what: str) -> str:
    """The newest pair of each trainer, as a clause."""
    return f"{what} {'is' if len(by_trainer) == 1 else 'are'} {listed([_named(one) for one in by_trainer.values()])}"


def _of_one(known: Pairs, pair: Pair, family: str) -> tuple[Known, str]:
    does = "works" if pair.works else f"fails ({_rules([pair])})"
    how = "" if pair.how == "measured" else "inferred from a release with the same code where it matters, "
    how += f"measured {'here ' if pair.here else ''}on {pair.date} with torch {pair.torch}"
    what = "" if pair.works else _what_fails(known, pair, family)
    text = f"{_named(pair)} {does}, {how}.{what}{_simulated(known, pair, family)} {_pins(known.found, pair)}"
    return "works" if pair.works else "fails", text


def _simulated(known: Pairs, pair: Pair, family: str) -> str:
    """A sentence on functions that were judged without the GPU that they need."""
    cells = known.cells(pair.trainer, pair.release, pair.transformers, family)
    names = {one.function for cell in cells for one in known.found.run_of(cell).functions if one.forward_only}
    return f" Backward was simulated on the CPU for {listed(sorted(names))}." if names else ""


def _pins(found: Map, pair: Pair) -> str:
    """Whether the releases' own requirements admit a pair."""
    if pair.unmet:
        return f"{listed(pair.unmet)}: pip does not install them together."
    if pair.release not in found.requires.get(pair.trainer, {}):
        return f"What {pair.trainer} {pair.release} requires is not known."
    return "Their own requirements admit it."


def _what_fails(known: Pairs, pair: Pair, family: str) -> str:
    """What fails in a pair, and which functions train, in plain sentences."""
    cells = known.cells(pair.trainer, pair.release, pair.transformers, family)
    runs = [known.found.run_of(cell) for cell in cells if cell.verdict in DECIDED]
    titles = dict.fromkeys(
        gist(fault.title, run.stack) for run in runs for fault in run.faults if fault.severity == "error"
    )
    failing = {judged.function for run in runs for judged in run.functions if judged.verdict == "fail"}
    training = {judged.function for run in runs for judged in run.functions if judged.verdict == "ok"} - failing
    text = f" What fails: {'; '.join(titles)}." if titles else ""
    text += f" Checkpoint functions that fail: {listed(sorted(failing))}." if failing else ""
    text += f" Functions that train: {listed(sorted(training))}." if training else ""
    return text


def _lacking(known: Pairs, exact: Mapping[str, str], family: str) -> str:
    """A sentence on a family that no trainer was measured with in a release."""
    library = exact.get(MODEL_LIBRARY, "")
    if family not in known.models or library not in known.found.axes[MODEL_LIBRARY] or known.has(library, family):
        return ""
    return f" {family} was not measured in transformers {library} with any trainer: that release may lack it."


def _undecided(known: Pairs, trainer: str, exact: Mapping[str, str], family: str) -> str:
    """Of a pair that was run, why there is no verdict; empty if it was not run."""
    release, library = exact.get(trainer, ""), exact.get(MODEL_LIBRARY, "")
    for cell in known.cells(trainer, release, library, family):
        why = "was not judged" if cell.verdict == "not judged" else "could not be diagnosed"
        summary = known.found.run_of(cell).summary.rstrip(".")
        return f"{trainer} {release} with transformers {library} was tried and {why}: {summary}."
    return ""


def _named(pair: Pair) -> str:
    return f"{pair.trainer} {pair.release} with transformers {pair.transformers}"


def _rules(found: Sequence[Pair]) -> str:
    return listed(sorted({rule for pair in found for rule in pair.rules})) or "for another reason"
