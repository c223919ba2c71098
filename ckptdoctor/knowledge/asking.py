"""Answers "does this work together?" out of what was measured; nothing is run."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from ckptdoctor import catalog, knowledge
from ckptdoctor.errors import UsageFault
from ckptdoctor.knowledge import families, pairs
from ckptdoctor.model import declared
from ckptdoctor.model.answer import SCHEMA, Answer, Known, Pair
from ckptdoctor.model.compatibility import Cell, How
from ckptdoctor.model.explanation import Combination
from ckptdoctor.model.report import DECIDED
from ckptdoctor.words.wording import counted, listed

MODEL_LIBRARY = "transformers"
"""The package whose models are trained."""

_SEPARATORS = re.compile(r"[-_.]+")
"""People write LLaMA-Factory, llama_factory and llamafactory."""

_RELEASE = re.compile(r"v?\d+(?:\.\w+)*")
_NAME = re.compile(r"[A-Za-z][\w.-]*")
_SHORT = re.compile(r"^([A-Za-z][\w.-]*)\s*(?:@|=|:|\s)\s*(v?\d+(?:\.\w+)*)$")

_NAMED = 6
"""Pairs and releases that a sentence names."""


def requirements_in(lines: Iterable[str]) -> tuple[list[Requirement], list[str]]:
    """The requirements in the lines of a file or of `pip freeze`, and the lines that are none."""
    found, others = [], []
    for line in lines:
        text = line.split(" #")[0].split(";")[0].split(" --hash")[0].rstrip("\\").strip()
        if not text or text.startswith(("#", "-")):
            continue
        try:
            found.append(Requirement(text))
        except InvalidRequirement:
            others.append(text)
    return found, others


def spelled_out(words: Sequence[str]) -> list[str]:
    """Words of a command line as requirements: `llamafactory 0.9.4` and `llamafactory@0.9.4` mean `llamafactory==0.9.4`."""
    found: list[str] = []
    for word in words:
        text = _SHORT.sub(r"\1==\2", word.strip())
        if found and _RELEASE.fullmatch(text) and _NAME.fullmatch(found[-1]):
            found[-1] = f"{found[-1]}=={text}"
        else:
            found.append(text)
    return found


def ask(requirements: Sequence[Requirement], family: str = "", unread: Sequence[str] = ()) -> Answer:
    """What is known of these releases together.

    Args:
        requirements: Of any packages: what was not measured is left out.
        family: A model family; without one, all that were measured must agree.
        unread: Lines that could not be read as requirements, for a note.

    Raises:
        UsageFault: Neither transformers nor a trainer that was measured is among them.
    """
    known = knowledge.load()
    named = wanted(requirements)
    trainers = [name for name in named if catalog.is_trainer(name)]
    if not named:
        names = listed(sorted(known.axes))
        raise UsageFault(f"None of these packages was measured; measured were {names}.", "name one of them")
    if family and family not in known.models() and not trainers:
        return _of_family(family, named[MODEL_LIBRARY])
    asked = {name: _releases(spec, known.axes[name]) for name, spec in named.items()}
    notes = list(_notes(requirements, asked, named, unread))
    found = [pair for name in trainers or _all_trainers(known.axes) for pair in _pairs(name, asked, family)]
    if len(trainers) != 1:
        found = [pair for pair in found if MODEL_LIBRARY in named or pair.trainer in named]
    said, summary = _summary(found)
    summary = f"{summary}{_when(found)}{_families(family)}" if found else summary
    exact = _exact(named)
    notes += _of_torch(family, exact.get(MODEL_LIBRARY, ""))
    nearest: tuple[Combination, ...] = ()
    if said != "works" and len(trainers) == 1 and exact:
        nearest = tuple(one for one in pairs.combinations(trainers[0], exact, family, "") if one.command)
    return Answer(SCHEMA, said, summary, tuple(found), nearest, tuple(notes))


def _of_family(family: str, admitted: SpecifierSet) -> Answer:
    """What is known of a family that was measured with torch's own functions alone."""
    found = families.told(family, _releases(admitted, families.load().axes[MODEL_LIBRARY]))
    said, summary = families.answer(family, found)
    return Answer(SCHEMA, said, summary, (), families=tuple(one.as_answer() for one in found))


def _of_torch(family: str, release: str) -> list[str]:
    """What is known of a release of transformers beside trainers: of the family, or of those that fail."""
    if not release:
        return []
    found = [one.sentence for one in families.told(family, [release]) if one.verdict == "fail"] if family else []
    return found if family else [text for text in (families.remark(release),) if text]


def _name(requirement: Requirement, axes: Iterable[str]) -> str:
    """The measured package that a requirement names, in whatever spelling; empty for any other."""
    bare = _SEPARATORS.sub("", requirement.name.lower())
    return next((name for name in axes if _SEPARATORS.sub("", name) == bare), "")


def wanted(requirements: Sequence[Requirement]) -> dict[str, SpecifierSet]:
    """The releases that requirements admit of the packages that were measured, by our spelling of their names."""
    axes = knowledge.load().axes
    found: dict[str, SpecifierSet] = {}
    for one in requirements:
        name = _name(one, axes)
        if name and one.url is None:
            found[name] = found.get(name, SpecifierSet()) & one.specifier
    return found


def _releases(specifier: SpecifierSet, known: Sequence[str]) -> list[str]:
    return sorted(specifier.filter(known, prereleases=True), key=Version)


def _exact(wanted: Mapping[str, SpecifierSet]) -> dict[str, str]:
    """Releases that are named exactly, measured or not."""
    found = {}
    for name, specifier in wanted.items():
        versions = [one.version for one in specifier if one.operator in ("==", "===") and not one.version.endswith("*")]
        if versions:
            found[name] = versions[0]
    return found


def _all_trainers(axes: Mapping[str, Sequence[str]]) -> list[str]:
    return [name for name in axes if catalog.is_trainer(name)]


def _pairs(trainer: str, asked: Mapping[str, Sequence[str]], family: str) -> Iterator[Pair]:
    """Each pair of releases that is known, oldest first."""
    known = knowledge.load()
    releases = asked.get(trainer, known.axes[trainer])
    others = asked.get(MODEL_LIBRARY, known.axes[MODEL_LIBRARY])
    cells: dict[tuple[str, str], list[Cell]] = {}
    models = pairs.models_for(family)
    for cell in known.cells:
        if trainer in cell.stack and cell.model in models and cell.verdict in DECIDED:
            cells.setdefault((cell.stack[trainer], cell.stack[MODEL_LIBRARY]), []).append(cell)
    for release, transformers in itertools.product(releases, others):
        there = cells.get((release, transformers), [])
        if there:
            yield _pair(trainer, release, transformers, there)


def _pair(trainer: str, release: str, transformers: str, cells: Sequence[Cell]) -> Pair:
    known = knowledge.load()
    works = all(cell.verdict == "ok" for cell in cells)
    rules = sorted({fault.rule for cell in cells for fault in known.run_of(cell).faults if fault.severity == "error"})
    how: How = "measured" if all(cell.how == "measured" for cell in cells) else "inferred"
    unmet = declared.unmet(cells[0].stack, known)
    runs = [known.run_of(cell) for cell in cells]
    oldest = min(runs, key=lambda run: run.date)
    torch = oldest.packages.get("torch") or known.torch
    here = any(run.here for run in runs)
    rules = [] if works else rules
    return Pair(trainer, release, transformers, works, tuple(rules), how, tuple(unmet), oldest.date, torch, here)


def _families(family: str) -> str:
    """A sentence on the families that this is known of."""
    models = pairs.models_for(family)
    lacking = f" {family} was not measured." if family and family not in models else ""
    return f" This is known for {listed(models)}; other families were not measured.{lacking}"


def _when(found: Sequence[Pair]) -> str:
    """A sentence on when several pairs were measured; the sentence on a single pair says so itself."""
    if len(found) < 2:
        return ""
    dates = sorted({pair.date for pair in found})
    days = f"on {dates[0]}" if len(dates) == 1 else f"from {dates[0]} to {dates[-1]}"
    here = sum(pair.here for pair in found)
    return f" Measured {days}{f', {here} of them here' if here else ''}."


def _summary(found: Sequence[Pair]) -> tuple[Known, str]:
    if not found:
        return "not known", "These releases were not measured together."
    if len(found) == 1:
        return _of_one(found[0])
    working = [one for one in found if one.works]
    if not working:
        return "fails", f"None of the {len(found)} pairs that this admits works: {_rules(found)}."
    newest = working[-1]
    admitted = [one for one in working if not one.unmet]
    said: Known = "works" if len(working) == len(found) else "some work"
    best = admitted[-1] if admitted else newest
    text = f"{len(working)} of {counted(len(found), 'pair')} that this admits work; the newest is {_named(newest)}."
    if best is not newest:
        text += f" The newest whose own requirements admit each other is {_named(best)}."
    return said, text


def _of_one(pair: Pair) -> tuple[Known, str]:
    does = "works" if pair.works else f"fails ({_rules([pair])})"
    how = "" if pair.how == "measured" else "inferred from a release with the same code where it matters, "
    how += f"measured {'here ' if pair.here else ''}on {pair.date} with torch {pair.torch}"
    pins = (
        f"{listed(pair.unmet)}: pip does not install them together."
        if pair.unmet
        else "Their own requirements admit it."
    )
    return "works" if pair.works else "fails", f"{_named(pair)} {does}, {how}. {pins}"


def _named(pair: Pair) -> str:
    return f"{pair.trainer} {pair.release} with transformers {pair.transformers}"


def _rules(found: Sequence[Pair]) -> str:
    return listed(sorted({rule for pair in found for rule in pair.rules})) or "for another reason"


def _notes(
    requirements: Sequence[Requirement],
    asked: Mapping[str, Sequence[str]],
    wanted: Mapping[str, SpecifierSet],
    unread: Sequence[str],
) -> Iterator[str]:
    known = knowledge.load()
    for name, releases in asked.items():
        if not releases:
            oldest, newest = known.axes[name][0], known.axes[name][-1]
            yield f"{name}{wanted[name]} was not measured; measured were {oldest} to {newest}."
    for one in requirements:
        if one.url is not None and _name(one, known.axes):
            yield f"{one.name} comes from a URL or a folder, so its release is not known: it was left out."
    if unread:
        yield f"{counted(len(unread), 'line')} could not be read: {listed([repr(one) for one in unread], limit=_NAMED)}."
