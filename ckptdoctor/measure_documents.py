"""Writes what the documents say of the map that is shipped: the tables of the READMEs, and the lines of ``docs/facts.md``.

``python -m ckptdoctor.measure_documents`` does only this; ``ckptdoctor.measure`` does it after it has written a map.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from ckptdoctor import catalog, knowledge
from ckptdoctor.model.compatibility import Cell, Map
from ckptdoctor.model.report import DECIDED
from ckptdoctor.words.wording import counted

PROJECT = Path(__file__).parent.parent
LIBRARY = "transformers"
TORCH = "torch:non-reentrant"


@dataclass(frozen=True)
class Language:
    """The words of a README's table."""

    file: str
    passes: str
    works: str
    fails: str
    to: str
    both: str
    callables: dict[str, str]
    """What is passed, by calling convention."""

    def span(self, releases: Sequence[str]) -> str:
        """Neighbouring releases in words."""
        if len(releases) == 2:
            return self.both.join(releases)
        return self.to.join(dict.fromkeys((releases[0], releases[-1])))


LANGUAGES = (
    Language(
        "README.md",
        "passes",
        "works",
        "fails",
        " to ",
        " and ",
        {name: one.words for name, one in catalog.conventions().items() if one.words},
    ),
    Language(
        "README_zh.md",
        "交出的对象",
        "正常",
        "失败",
        " 至 ",
        " 和 ",
        {
            "bound-method": "绑定方法（bound method）",  # noqa: RUF001 - Chinese brackets
            "partial-bound": "包着绑定方法的 `functools.partial`",
            "partial-function": "包着普通函数的 `functools.partial`",
        },
    ),
)
FACTS = "docs/facts.md"
FACTS_BEGIN, FACTS_END = "<!-- from the map -->\n", "<!-- end of what is from the map -->\n"


class Verdicts:
    """What a map says of each release of a trainer with each release of transformers."""

    def __init__(self, found: Map) -> None:
        self.found = found
        self.libraries = found.axes[LIBRARY]
        self._cells: dict[tuple[str, str, str], list[Cell]] = {}
        for cell in found.cells:
            for name, release in cell.stack.items():
                self._cells.setdefault((name, release, cell.stack[LIBRARY]), []).append(cell)

    def works(self, trainer: str, release: str, library: str) -> bool | None:
        """Whether a pair works in all families; None if it was not judged."""
        verdicts = {
            cell.verdict for cell in self._cells.get((trainer, release, library), []) if cell.verdict in DECIDED
        }
        return verdicts == {"ok"} if verdicts else None

    def convention(self, library: str) -> str:
        """How a release of transformers passes a layer to torch's own function."""
        judged = (
            one.convention
            for cell in self._cells[LIBRARY, library, library]
            for one in self.found.run_of(cell).functions
            if one.function == TORCH and one.convention
        )
        return next(judged, "")

    def groups(self, trainer: str) -> list[list[str]]:
        """Neighbouring releases with the same verdicts, of those that have a checkpoint function of their own."""
        own = [release for release in self.found.axes[trainer] if self._has_function(trainer, release)]
        alike = groupby(own, key=lambda release: [self.works(trainer, release, one) for one in self.libraries])
        return [list(group) for _, group in alike]

    def _has_function(self, trainer: str, release: str) -> bool:
        return any(
            one.function.partition(":")[0] == trainer
            for library in self.libraries
            for cell in self._cells.get((trainer, release, library), [])
            for one in self.found.run_of(cell).functions
        )

    def rules(self, trainer: str, release: str, libraries: Sequence[str]) -> list[str]:
        """The rules that are broken by a pair, or by one of several."""
        cells = [cell for library in libraries for cell in self._cells.get((trainer, release, library), [])]
        faults = [fault for cell in cells for fault in self.found.run_of(cell).faults if fault.severity == "error"]
        return sorted({fault.rule for fault in faults})


def table(said: Verdicts, language: Language) -> str:
    """The oldest and the newest group of each trainer that fails with some transformers, by releases of transformers."""
    columns = [(name, group) for name in _failing(said) for group in _ends(said.groups(name))]
    newest = {said.groups(name)[-1][-1] for name in _failing(said)}

    def word(name: str, group: Sequence[str], library: str) -> str:
        works = said.works(name, group[-1], library)
        if works is None:
            return ""
        return language.works if works else f"**{language.fails}**" if group[-1] in newest else language.fails

    lines = {
        library: (
            language.callables.get(said.convention(library), f"`{said.convention(library)}`"),
            *(word(name, group, library) for name, group in columns),
        )
        for library in said.libraries
    }
    head = [LIBRARY, language.passes, *(f"{name} {language.span(group)}" for name, group in columns)]
    rows = [head, ["---"] * len(head)]
    for line, group in groupby(said.libraries, key=lines.__getitem__):
        rows.append([language.span(list(group)), *line])
    text = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return text.replace("| --- " * len(head) + "|", "|" + "---|" * len(head)) + "\n"


def facts(said: Verdicts) -> Iterator[str]:
    """What was measured, and where the verdicts change, a line for each group of releases."""
    span = LANGUAGES[0].span
    yield f"Releases with a checkpoint function of their own, with every release of transformers from {said.libraries[0]} to"
    yield f"{said.libraries[-1]}, last measured on {_latest(said.found)}:\n"
    for name in (one for one in said.found.axes if catalog.is_trainer(one)):
        for group in said.groups(name):
            ends = [
                f"{_word(works, said, name, group[-1], libraries)} with {span(libraries)}"
                for works, libraries in _runs(said, name, group[-1])
            ]
            yield f"- {name} {span(group)} ({counted(len(group), 'release')}): {', '.join(ends)}."


def _word(works: bool, said: Verdicts, name: str, release: str, libraries: Sequence[str]) -> str:
    return "works" if works else f"fails ({', '.join(said.rules(name, release, libraries))})"


def _runs(said: Verdicts, name: str, release: str) -> Iterator[tuple[bool, list[str]]]:
    judged = [one for one in said.libraries if said.works(name, release, one) is not None]
    for works, group in groupby(judged, key=lambda one: bool(said.works(name, release, one))):
        yield works, list(group)


def _failing(said: Verdicts) -> list[str]:
    trainers = [name for name in said.found.axes if catalog.is_trainer(name)]
    return [
        name
        for name in trainers
        if any(said.works(name, group[-1], one) is False for group in said.groups(name) for one in said.libraries)
    ]


def _ends(groups: list[list[str]]) -> list[list[str]]:
    return [groups[0], groups[-1]] if len(groups) > 1 else groups


def _latest(found: Map) -> str:
    return max(run.date for run in found.runs)


def written(folder: Path = PROJECT) -> dict[Path, str]:
    """The documents as they should be, by file.

    Raises:
        ValueError: A document lacks the place where the text goes.
    """
    said = Verdicts(knowledge.shipped())
    made = {}
    for language in LANGUAGES:
        file = folder / language.file
        made[file] = _replaced(r"^\| transformers \| [^\n]+\n(?:\|[^\n]+\n)+", table(said, language), file)
    file = folder / FACTS
    between = f"{re.escape(FACTS_BEGIN)}.*?{re.escape(FACTS_END)}"
    made[file] = _replaced(between, f"{FACTS_BEGIN}\n" + "\n".join(facts(said)) + f"\n\n{FACTS_END}", file)
    return made


def _replaced(pattern: str, text: str, file: Path) -> str:
    made, number = re.subn(pattern, lambda _: text, file.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    if number != 1:
        raise ValueError(f"{file} has {number} places for what the map says, not one")
    return made


def main() -> None:
    """Write the documents."""
    for file, text in written().items():
        file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
