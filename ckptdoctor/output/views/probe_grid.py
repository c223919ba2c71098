"""What was run, as one table a model: checkpoint functions against engines, and against calling conventions."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ckptdoctor.model.report import ProbeResult, Report
from ckptdoctor.output.sentences import outcome
from ckptdoctor.planning.options import NO_FUNCTION
from ckptdoctor.words.wording import function_name

_FAILED = ("triggered", "failed", "crashed", "timeout")


@dataclass(frozen=True)
class Entry:
    """How one probe ended.

    Attributes:
        text: The rules that it broke, or its outcome.
        look: ``ok``, ``fail``, ``warned`` or ``not-judged``.
        number: The probe's place in the report.
        is_advisory: It does not count for the verdict.
    """

    text: str
    look: str
    number: int
    is_advisory: bool


@dataclass(frozen=True)
class Grid:
    """A table.

    Attributes:
        title: What it is of.
        across: Heads of its columns.
        rows: The name of each row, and what is in each column.
    """

    title: str
    across: tuple[str, ...]
    rows: tuple[tuple[str, tuple[tuple[Entry, ...], ...]], ...]


def grids(report: Report) -> list[Grid]:
    """The tables of a report: one for each model, then one of calling conventions."""
    warned = warnings_only(report)
    numbered = [(number, _entry(number, probe, warned), probe) for number, probe in enumerate(report.probes, 1)]
    usual = [(entry, probe) for _, entry, probe in numbered if probe.role != "convention"]
    ways = [(entry, probe) for _, entry, probe in numbered if probe.role == "convention"]
    made = [
        _grid(
            f"Model {model}",
            ((row_name(probe), _engine(probe), entry) for entry, probe in usual if probe.model == model),
        )
        for model in dict.fromkeys(probe.model for _, probe in usual)
    ]
    if ways:
        title = "Calling conventions, tried with our own tiny model whether or not this stack uses them"
        made.append(
            _grid(
                title,
                ((function_name(probe.checkpoint_function), probe.calling_convention, entry) for entry, probe in ways),
            )
        )
    return made


def row_name(probe: ProbeResult) -> str:
    """The checkpoint function, and what is particular about the step."""
    name = "no checkpointing" if probe.checkpoint_function == NO_FUNCTION else function_name(probe.checkpoint_function)
    rest = probe.id.removeprefix(f"{probe.model}/{probe.checkpoint_function}/{probe.engine}").split("/")
    return ", ".join([name, *(part for part in rest if part and not re.fullmatch(r"\d+ ranks", part))])


def full_name(probe: ProbeResult) -> str:
    """A probe in words, for the head of its evidence."""
    is_convention = probe.role == "convention"
    name = (
        f"{function_name(probe.checkpoint_function)}, {probe.calling_convention}" if is_convention else row_name(probe)
    )
    return f"{probe.model}, {name}, {_engine(probe)}"


def look(probe: ProbeResult, warned: Iterable[str] = ()) -> str:
    """How a probe's outcome is coloured; the words say the same. Only what counts for the verdict looks like a failure."""
    if probe.outcome in _FAILED:
        is_mild = probe.role != "subject" or (probe.rules and set(probe.rules) <= set(warned))
        return "warned" if is_mild else "fail"
    return "ok" if probe.outcome == "ok" else "not-judged"


def warnings_only(report: Report) -> set[str]:
    """Rules that no finding has as an error."""
    return {one.rule for one in report.findings} - {one.rule for one in report.findings if one.severity == "error"}


def _entry(number: int, probe: ProbeResult, warned: set[str]) -> Entry:
    text = ", ".join(probe.rules) or outcome(probe)
    return Entry(text, look(probe, warned), number, probe.role == "advisory")


def _engine(probe: ProbeResult) -> str:
    return "no engine" if probe.engine == "none" else probe.engine


def _grid(title: str, entries: Iterable[tuple[str, str, Entry]]) -> Grid:
    cells: dict[str, dict[str, list[Entry]]] = {}
    for row, column, entry in entries:
        cells.setdefault(row, {}).setdefault(column, []).append(entry)
    across = tuple(dict.fromkeys(column for row in cells.values() for column in row))
    rows = tuple((name, tuple(tuple(row.get(column, ())) for column in across)) for name, row in cells.items())
    return Grid(title, across, rows)
