"""A map's tables as numbers: what cells share by the thousand stands once, with what fails in them and what fixes it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from ckptdoctor.knowledge import packed
from ckptdoctor.model import declared
from ckptdoctor.model.compatibility import Cell, Map, Run
from ckptdoctor.output.views.choices import Choices
from ckptdoctor.output.views.table import Joined, Sheet
from ckptdoctor.rules import label_of
from ckptdoctor.words.wording import gist

NOT_IN_THE_MAP = -1
_MOST_FIXES = 3
_FIXES_NAMED = 2


@dataclass(frozen=True)
class Fix:
    """What works in the place of some combinations that fail.

    Attributes:
        what: A release: ``llamafactory 0.9.3``.
        sentence: What is known of it, for a single combination; else the release.
        command: What installs it.
        count: For how many of the combinations it is the nearest.
    """

    what: str
    sentence: str
    command: str
    count: int


class Grid:
    """The cells of a map's tables.

    Args:
        found: The map.
        choices: What its questions are answered.
    """

    def __init__(self, found: Map, choices: Choices) -> None:
        self._found, self._choices = found, choices
        self._kinds: dict[tuple[Any, ...], int] = {}
        self._texts: dict[str, int] = {}
        self._required: dict[tuple[tuple[str, str], ...], list[str]] = {}

    def data(self, joined: Sequence[Sheet], single: Sequence[Sheet]) -> dict[str, Any]:
        """The tables with joined neighbours and with every release, as JSON."""
        shown = [
            {
                "title": together.title,
                "package": together.package,
                "joined": self._view(together),
                "single": self._view(each),
            }
            for together, each in zip(joined, single, strict=True)
        ]
        return {"sheets": shown, "kinds": list(self._kinds), "runs": self._runs(), "words": list(self._texts)}

    def faults(self, cell: Joined) -> list[str]:
        """What fails in a cell, in plain sentences without versions."""
        runs = [self._found.runs[number] for number in dict.fromkeys(one.run for one in cell.cells)]
        titles = (gist(fault.title, run.stack) for run in runs for fault in run.faults if fault.severity == "error")
        return list(dict.fromkeys(titles)) if cell.verdict == "fail" else []

    def fixes(self, cell: Joined, title: str) -> list[Fix]:
        """What works in the place of a cell that fails, what fixes most of it first."""
        if cell.verdict != "fail":
            return []
        family = title if title in self._found.models() else ""
        counts = Counter(fix for one in cell.cells for fix in self._choices.fixes(one, family))
        if len(cell.cells) == 1:
            return [Fix(*one, 1) for one in counts]
        by_command: Counter[tuple[str, str]] = Counter()
        for (what, _, command), count in counts.items():
            by_command[what, command] += count
        return [Fix(what, what, command, count) for (what, command), count in by_command.most_common(_MOST_FIXES)]

    def fix_line(self, cell: Joined, title: str) -> str:
        """What works instead, as a cell has room for it: what does so everywhere in it, else the first with its number."""
        fixes, total = self.fixes(cell, title), len(cell.cells)
        everywhere = [fix.what for fix in fixes if fix.count == total][:_FIXES_NAMED]
        if everywhere:
            return f"fix: {' or '.join(everywhere)}"
        return f"fix: {fixes[0].what}, for {fixes[0].count} of {total}" if fixes else ""

    def _view(self, sheet: Sheet) -> dict[str, Any]:
        rows = [
            {"label": row.label, "cells": [self._number(cell, sheet.title) for cell in row.cells]} for row in sheet.rows
        ]
        return {"columns": sheet.headers, "rows": rows}

    def _number(self, cell: Joined | None, title: str) -> int:
        if cell is None:
            return NOT_IN_THE_MAP
        # What was measured comes first: it is the nearest evidence.
        runs = tuple(dict.fromkeys(one.run for one in sorted(cell.cells, key=lambda one: one.how != "measured")))
        required = dict.fromkeys(text for one in cell.cells for text in self._required_by(one))
        fixes = tuple((self._text(fix.sentence), self._text(fix.command), fix.count) for fix in self.fixes(cell, title))
        unmet = tuple((self._text(text), count) for text, count in cell.unmet.items())
        kind = (
            *(cell.verdict, cell.rules, cell.warnings, cell.measured, len(cell.cells), runs),
            *(tuple(map(self._text, required)), (cell.outside, unmet)),
            *(tuple(map(self._text, self.faults(cell))), fixes, self._text(self.fix_line(cell, title))),
        )
        return self._kinds.setdefault(kind, len(self._kinds))

    def _text(self, text: str) -> int:
        return self._texts.setdefault(text, len(self._texts))

    def _required_by(self, cell: Cell) -> list[str]:
        # Nothing else decides what is required.
        deciding = {name: at for name, at in cell.stack.items() if name == "python" or name in self._found.requires}
        key = tuple(deciding.items())
        if key not in self._required:
            self._required[key] = declared.required(deciding, self._found)
        return self._required[key]

    def _runs(self) -> dict[str, Any]:
        """The runs by column, each fault with the label of its line."""
        made = packed.by_column(self._found.runs, Run)
        labels = [
            [label_of(fault.rule, fault.culprit).capitalize() for fault in run.faults] for run in self._found.runs
        ]
        return {**made, "labels": _column(labels)}


def _column(values: Iterable[Any]) -> dict[str, Any]:
    number: dict[bytes, int] = {}
    rows = [number.setdefault(msgspec.json.encode(value), len(number)) for value in values]
    return {"values": [msgspec.json.decode(one) for one in number], "rows": rows}
