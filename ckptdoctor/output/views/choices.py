"""The answers to all questions that a page offers, each as ``known`` gives it, written so that a page can hold them.

A question names a release of transformers or any, a trainer with one of its releases or any, and a model family. Texts that
questions share stand once, with marks in the place of what the question names; the page's script puts them together again.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from ckptdoctor import catalog
from ckptdoctor.knowledge import answering, families
from ckptdoctor.knowledge.pairs import MODEL_LIBRARY, Pairs
from ckptdoctor.model.answer import Answer
from ckptdoctor.model.compatibility import Cell, Map

LIBRARY_MARK, TRAINER_MARK, FAMILY_MARK = "\x01", "\x02", "\x03"
"""What stands for ``transformers 4.51.3``, ``llamafactory 0.9.2`` and the family. No text has them: it is escaped before."""

NONE = -1
"""The number of no answer: the question names nothing, or the map has no such thing."""

_SENTENCES = re.compile(r"(?<=\.) ")


class _Trainer(NamedTuple):
    """A choice of a trainer; without a name any, without a release any of its releases."""

    name: str
    release: str


_ANY = _Trainer("", "")


class Choices:
    """All questions about a map, and what they are answered.

    Args:
        found: The map, escaped.
        beside: A map of more families with torch's own functions, likewise.
    """

    def __init__(self, found: Map, beside: Map | None = None) -> None:
        self._found = found
        self._extras = {
            name: releases
            for name, releases in found.axes.items()
            if name != MODEL_LIBRARY and not catalog.is_trainer(name) and len(releases) > 1
        }
        parts: dict[tuple[str, ...], list[Cell]] = {}
        for cell in found.cells:
            parts.setdefault(self._extra(cell), []).append(cell)
        self._parts = {key: Pairs(msgspec.structs.replace(found, cells=cells)) for key, cells in parts.items()}
        self._texts: dict[str, int] = {}
        self._answers: dict[tuple[Any, ...], int] = {}
        self._torch = beside if beside is not None else found if _is_of_torch(found) else None

    def data(self) -> dict[str, Any] | None:
        """All of it, as JSON; none for a map without transformers, or in which there is nothing to choose."""
        if MODEL_LIBRARY not in self._found.axes or not self._found.cells:
            return None
        trainers = _trainers(self._found)
        made: dict[str, Any] = {
            "library": self._found.axes[MODEL_LIBRARY],
            "trainers": {name: self._found.axes[name] for name in _named(self._found)},
            "models": self._models,
            "extras": self._extras,
            "tables": [[list(key), self._tables(part, trainers)] for key, part in self._parts.items()],
            "torch": self._of_torch(),
        }
        if not trainers and made["torch"] is None:
            return None
        return {**made, "texts": list(self._texts), "answers": list(self._answers)}

    def fixes(self, cell: Cell, family: str) -> Iterator[tuple[str, str, str]]:
        """For a cell with a trainer, what works with one of its releases: what it is, a sentence on it, the command."""
        trainer = next(filter(catalog.is_trainer, cell.stack), "")
        if trainer and MODEL_LIBRARY in cell.stack:
            for one in self._parts[self._extra(cell)].nearest(trainer, cell.stack, family):
                yield one.sentence.partition(" works with ")[0], one.sentence, one.command

    @property
    def _models(self) -> list[str]:
        return [model for model in self._found.models() if model] if _named(self._found) else []

    def _extra(self, cell: Cell) -> tuple[str, ...]:
        return tuple(cell.stack.get(name, "") for name in self._extras)

    # -- questions with a trainer -----------------------------------------------------------------------------------

    def _tables(self, part: Pairs, trainers: Sequence[_Trainer]) -> list[list[list[int]]]:
        """By family, by trainer, by release of transformers: the number of the answer."""
        return [
            [
                [self._answer(part, library, trainer, family) for library in ("", *self._found.axes[MODEL_LIBRARY])]
                for trainer in trainers
            ]
            for family in ("", *self._models, FAMILY_MARK)
        ]

    def _answer(self, part: Pairs, library: str, trainer: _Trainer, family: str) -> int:
        if not library and not trainer.name:
            return NONE
        asked, exact = question(self._found.axes, library, trainer)
        said = answering.of_releases(part, asked, exact, family)
        return self._number(said, _SENTENCES.split(said.summary), library, trainer)

    def _number(
        self,
        said: Answer,
        sentences: Sequence[str],
        library: str,
        trainer: _Trainer = _ANY,
        family: str = "",
    ) -> int:
        def number(text: str) -> int:
            marked = _marked(text, MODEL_LIBRARY, library, LIBRARY_MARK)
            marked = _marked(marked, trainer.name, trainer.release, TRAINER_MARK)
            marked = marked.replace(f"{family} with ", f"{FAMILY_MARK} with ", 1) if family else marked
            return self._texts.setdefault(marked, len(self._texts))

        nearest = tuple((number(one.sentence), number(one.command)) for one in said.nearest)
        key = (said.known, tuple(map(number, sentences)), nearest)
        return self._answers.setdefault(key, len(self._answers))

    # -- questions without one --------------------------------------------------------------------------------------

    def _of_torch(self) -> dict[str, Any] | None:
        """By family, by release of transformers: the number of the answer, with torch's own functions; and remarks."""
        if self._torch is None:
            return None
        told: dict[str, list[families.Told]] = {}
        for cell in self._torch.cells:
            if cell.model:
                told.setdefault(cell.model, []).append(families.said_by(cell, self._torch))
        releases = self._torch.axes[MODEL_LIBRARY]
        answers = {family: self._of_family(family, whole, releases) for family, whole in sorted(told.items())}
        remarks = families.remarks(self._torch) if self._models else {}
        texts = [self._texts.setdefault(remarks[one], len(self._texts)) if one in remarks else NONE for one in releases]
        unmeasured = families.answered(FAMILY_MARK, [])
        number = self._number(unmeasured, _SENTENCES.split(unmeasured.summary), "")
        return {"library": releases, "families": answers, "remarks": texts, "unmeasured": number}

    def _of_family(self, family: str, whole: list[families.Told], releases: Sequence[str]) -> list[int]:
        """The first sentence of a failing release stands alone: it is also a remark on trainers with this family."""
        by_release = {one.release: [one] for one in whole}
        made = []
        for library, found in [("", whole), *((one, by_release.get(one)) for one in releases)]:
            said = families.answered(FAMILY_MARK if found is None else family, found or [], whole)
            first = found[0].sentence if found and len(found) == 1 else ""
            rest = _SENTENCES.split(said.summary.removeprefix(first).lstrip())
            made.append(self._number(said, list(filter(None, [first, *rest])), library, family=family))
        return made


def question(
    axes: Mapping[str, Sequence[str]], library: str, trainer: tuple[str, str]
) -> tuple[dict[str, Sequence[str]], dict[str, str]]:
    """The releases that a question is about, by package, and those that it names exactly."""
    chosen = {MODEL_LIBRARY: library, **({trainer[0]: trainer[1]} if trainer[0] else {})}
    asked = {name: [release] if release else axes[name] for name, release in chosen.items()}
    return asked, {name: release for name, release in chosen.items() if release}


def _named(found: Map) -> list[str]:
    return [name for name in found.axes if catalog.is_trainer(name)]


def _trainers(found: Map) -> list[_Trainer]:
    """Any trainer; then each one with any release, and with each."""
    each = [[_Trainer(name, release) for release in ("", *found.axes[name])] for name in _named(found)]
    return [_Trainer("", ""), *itertools.chain.from_iterable(each)] if each else []


def _is_of_torch(found: Map) -> bool:
    """Whether nothing but torch's own functions was tried, in one cell a family and a release of transformers."""
    if set(found.axes) != {MODEL_LIBRARY}:
        return False
    return all(one.function.startswith("torch:") for run in found.runs for one in run.functions)


def _marked(text: str, name: str, release: str, mark: str) -> str:
    return _release(name, release).sub(mark, text) if release and f"{name} {release}" in text else text


@functools.lru_cache(maxsize=1024)
def _release(name: str, release: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w.-]){re.escape(name)} {re.escape(release)}(?!\.?\w)")
