"""A map as tables: a column for each release of one package, a row for each combination of the others, ranges joined."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import product

from ckptdoctor import catalog
from ckptdoctor.model.compatibility import Cell, Map, Run
from ckptdoctor.model.report import Severity, Verdict
from ckptdoctor.output.views.ranges import Box, Key, in_order, inside, joined, key_of, label, span
from ckptdoctor.words.wording import gist

_Signature = Hashable
"""What must be equal for cells to be joined; ``None`` for a combination that is not in the map."""


@dataclass(frozen=True)
class Joined:
    """Cells of equal verdict and rules.

    Attributes:
        verdict: The verdict of each.
        rules: Rules that fail it.
        warnings: Rules that only warn.
        cells: The cells themselves.
    """

    verdict: Verdict
    rules: tuple[str, ...]
    warnings: tuple[str, ...]
    cells: tuple[Cell, ...]

    @property
    def word(self) -> str:
        """The verdict in a word or two."""
        return {"ok": "ok", "fail": "FAIL", "not judged": "not judged", "error": "?"}[self.verdict]

    @property
    def measured(self) -> int:
        """How many of the cells were run."""
        return sum(cell.how == "measured" for cell in self.cells)

    @property
    def inferred(self) -> int:
        """How many of the cells are inferred from a run of another combination."""
        return len(self.cells) - self.measured

    @property
    def outside(self) -> int:
        """How many of the cells do not meet what their releases require."""
        return sum(bool(cell.unmet) for cell in self.cells)

    @property
    def unmet(self) -> Counter[str]:
        """Declared requirements that are not met, each with the number of cells."""
        return Counter(text for cell in self.cells for text in cell.unmet)


@dataclass(frozen=True)
class Row:
    """A line of a table.

    Attributes:
        box: The releases that it is about.
        label: The same in words.
        cells: What each column holds; ``None`` where the map has no such combination.
    """

    box: Box
    label: str
    cells: tuple[Joined | None, ...]


@dataclass(frozen=True)
class Sheet:
    """One table.

    Attributes:
        title: The models that it is about.
        package: The package whose releases are the columns; empty where there is one column only, for the verdict.
        columns: Releases of each column.
        rows: The lines.
    """

    title: str
    package: str
    columns: tuple[tuple[str, ...], ...]
    rows: tuple[Row, ...]

    @property
    def headers(self) -> list[str]:
        """The columns in words."""
        return [span(releases) for releases in self.columns] if self.package else ["verdict"]


def sheets(found: Map, join: bool = True) -> list[Sheet]:
    """Puts a map into tables: one for all, or one for each model where a combination was judged with several.

    Args:
        found: The map.
        join: Whether neighbouring rows and columns that are equal become one.

    Returns:
        The tables; models whose tables are equal share one.
    """
    return [_sheet(found, title, cells, join) for title, cells in _by_model(found)]


def per_model(found: Map) -> bool:
    """Whether some combination was judged with several models."""
    packages = varied(found)
    return len({key_of(cell.stack, packages) for cell in found.cells}) < len(found.cells)


def varied(found: Map) -> list[str]:
    """Packages that tell combinations apart: all of several releases, and every trainer."""
    many = [package for package, releases in found.axes.items() if len(releases) > 1 or catalog.is_trainer(package)]
    return many or list(found.axes)


def fixed(found: Map) -> dict[str, str]:
    """Packages that were the same in every combination, with their release."""
    return {name: releases[0] for name, releases in found.axes.items() if name not in varied(found) and releases}


def rules_of(run: Run, *severities: Severity) -> tuple[str, ...]:
    """Rules that fired in a run with one of the given severities, sorted."""
    return tuple(sorted({fault.rule for fault in run.faults if fault.severity in severities}))


# -- models -----------------------------------------------------------------------------------------------------------


def _by_model(found: Map) -> list[tuple[str, list[Cell]]]:
    """Cells of each table, with its title."""
    if not per_model(found):
        return [(_with_counts(found), found.cells)] if found.cells else []
    packages, signatures = varied(found), _signatures(found)
    together: dict[_Signature, tuple[list[str], list[Cell]]] = {}
    for model in filter(None, found.models()):
        cells = _cells_of(model, found)
        content = frozenset((key_of(cell.stack, packages), signatures[cell.run]) for cell in cells)
        models, all_cells = together.setdefault(content, ([], []))
        models.append(model)
        all_cells += cells
    return [(", ".join(models), cells) for models, cells in together.values()]


def _with_counts(found: Map) -> str:
    models = found.models()
    counts = {model: sum(cell.model == model for cell in found.cells) for model in models}
    if len(models) == 1:
        return models[0]
    return ", ".join(f"{model or 'no model'} ({count})" for model, count in counts.items())


def _cells_of(model: str, found: Map) -> list[Cell]:
    """A model's cells, and those that did not come to any model where it has none."""
    packages = varied(found)
    own = [cell for cell in found.cells if cell.model == model]
    taken = {key_of(cell.stack, packages) for cell in own}
    return own + [cell for cell in found.cells if not cell.model and key_of(cell.stack, packages) not in taken]


# -- one table --------------------------------------------------------------------------------------------------------


def _sheet(found: Map, title: str, cells: Sequence[Cell], join: bool) -> Sheet:
    across, packages, signatures = _across(found), varied(found), _signatures(found)
    releases = found.axes[across] if across else [""]
    at: dict[Key, list[Cell]] = {}
    for cell in cells:
        at.setdefault(key_of(cell.stack, packages), []).append(cell)
    lines = _lines(found, across, cells)
    signed = []
    for line in lines:
        keys = [_with(line, across, release, packages) for release in releases]
        signed.append((line, tuple(signatures[at[key][0].run] if key in at else None for key in keys)))
    columns = _columns(releases, [line for _, line in signed], join)
    boxes = joined(signed, found.axes) if join else in_order(signed, found.axes)
    rows = [_row(box, columns, across, at, found) for box, _ in boxes]
    return Sheet(title, across, tuple(columns), tuple(rows))


def _across(found: Map) -> str:
    """The package whose releases are the columns; none where that would leave nothing to tell the rows apart."""
    packages = varied(found)
    trainers = [package for package in packages if catalog.is_trainer(package)]
    if len(packages) - len(trainers) + bool(trainers) < 2:
        return ""
    # Trainers are alternatives: with two of them, neither can have the columns to itself.
    able = [p for p in packages if len(found.axes[p]) > 1 and (not catalog.is_trainer(p) or len(trainers) == 1)]
    if "transformers" in able:
        return "transformers"
    return max(able, key=lambda package: len(found.axes[package]), default="")


def _lines(found: Map, across: str, cells: Sequence[Cell]) -> list[Box]:
    """Every combination of the packages that are not columns, each as a box of single releases."""
    others = [package for package in varied(found) if package != across]
    trainers: list[Box] = [
        {name: (release,)} for name in others if catalog.is_trainer(name) for release in found.axes[name]
    ]
    if not trainers or any(not cell.stack.keys() & set(catalog.with_functions()) for cell in cells):
        trainers.append({})
    free = [package for package in others if not catalog.is_trainer(package)]
    releases = list(product(*(found.axes[package] for package in free)))
    return [
        _ordered({**trainer, **{package: (one,) for package, one in zip(free, chosen, strict=True)}}, found)
        for trainer in trainers
        for chosen in releases
    ]


def _ordered(box: Box, found: Map) -> Box:
    return {package: box[package] for package in found.axes if package in box}


def _with(line: Box, across: str, release: str, packages: Sequence[str]) -> Key:
    stack = {package: one[0] for package, one in line.items()}
    return key_of({**stack, across: release}, packages)


def _signatures(found: Map) -> list[_Signature]:
    """What must be equal for cells to be joined, by the run that they rest on."""
    return [
        (
            run.verdict,
            rules_of(run, "error"),
            rules_of(run, "warning"),
            gist(run.summary, {**run.packages, **run.stack}) if run.verdict == "error" else "",
        )
        for run in found.runs
    ]


def _columns(releases: Sequence[str], lines: list[tuple[_Signature, ...]], join: bool) -> list[tuple[str, ...]]:
    result: list[tuple[str, ...]] = []
    contents: list[tuple[_Signature, ...]] = []
    for index, release in enumerate(releases):
        content = tuple(line[index] for line in lines)
        if join and contents and contents[-1] == content:
            result[-1] += (release,)
        else:
            result.append((release,))
            contents.append(content)
    return result


def _row(box: Box, columns: list[tuple[str, ...]], across: str, at: dict[Key, list[Cell]], found: Map) -> Row:
    cells: list[Joined | None] = []
    for releases in columns:
        whole = _ordered({**box, across: releases}, found)
        behind = [cell for key in inside(whole) for cell in at.get(key, [])]
        cells.append(_joined(behind, found) if behind else None)
    shown = [package for package in varied(found) if package != across]
    return Row(box, label(box, shown), tuple(cells))


def _joined(cells: list[Cell], found: Map) -> Joined:
    run = found.run_of(cells[0])
    return Joined(cells[0].verdict, rules_of(run, "error"), rules_of(run, "warning"), tuple(cells))
