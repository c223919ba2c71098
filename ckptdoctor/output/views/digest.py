"""What a map amounts to in words: counts, distinct faults, and where each holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from ckptdoctor import catalog
from ckptdoctor.model.compatibility import Cell, Fault, Map, Run
from ckptdoctor.model.evidence import Place
from ckptdoctor.output.views import source_names
from ckptdoctor.output.views.ranges import Box, Key, inside, joined, key_of, label, span
from ckptdoctor.output.views.table import fixed, per_model, varied
from ckptdoctor.words.wording import gist, located

MEASURED = "this combination was run"
INFERRED = "taken from the run of a combination with the same relevant code"


@dataclass(frozen=True)
class Where:
    """Combinations as a range of each package.

    Attributes:
        label: The ranges in words.
        measured: How many of them were run.
        total: How many there are.
    """

    label: str
    measured: int
    total: int


@dataclass(frozen=True)
class KnownFault:
    """A fault that is the same but for releases.

    Attributes:
        fault: It, as first met.
        title: Its title, without versions where they differ.
        error: Its error line, likewise.
        read_at: Lines to blame, one a release of the culprit.
        passed_at: Lines that handed the callable over.
        callables: What was passed.
        where: The combinations that have it.
    """

    fault: Fault
    title: str
    error: str
    read_at: list[Place]
    passed_at: list[Place]
    callables: list[str]
    where: list[Where]


@dataclass(frozen=True)
class Reason:
    """Why combinations cannot be diagnosed.

    Attributes:
        why: The reason, without versions where they differ.
        where: The combinations.
    """

    why: str
    where: list[Where]


def headline(found: Map) -> str:
    """The whole map in one sentence."""
    if not found.cells:
        return "This map is empty."
    verdicts = Counter[str](cell.verdict for cell in found.cells)
    words = {"ok": ("works", "work"), "fail": ("fails", "fail")}
    words |= {"not judged": ("was not judged", "were not judged"), "error": ("cannot be diagnosed",) * 2}
    parts = [f"{verdicts[name]} {_form(verdicts[name], *forms)}" for name, forms in words.items() if verdicts[name]]
    total = len(found.cells)
    return f"Of {total} {_form(total, 'combination', 'combinations')} {_in_a_row(parts)}; {_how_known(found)}."


def has_unjudged(found: Map) -> bool:
    """Whether any combination was not judged."""
    return any(cell.verdict == "not judged" for cell in found.cells)


def _how_known(found: Map) -> str:
    measured = sum(cell.how == "measured" for cell in found.cells)
    if measured == len(found.cells):
        return "all were measured"
    if not measured:
        return "all are inferred"
    return f"{measured} {_form(measured, 'was', 'were')} measured, the rest inferred"


def _form(count: int, one: str, many: str) -> str:
    return one if count == 1 else many


def _in_a_row(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def asked(found: Map) -> str:
    """What the map is of: the axes in words."""
    trainers = [_axis(name, found) for name in varied(found) if catalog.is_trainer(name)]
    others = [_axis(name, found) for name in varied(found) if not catalog.is_trainer(name)]
    models = [model for model in found.models() if model]
    text = " x ".join([*others, *([" or ".join(trainers)] if trainers else [])]) or "nothing"
    return f"{text}; {_form(len(models), 'model', 'models')} {', '.join(models)}" if models else text


def _axis(package: str, found: Map) -> str:
    releases = found.axes[package]
    count = f" ({len(releases)} releases)" if len(releases) > 1 else ""
    return f"{package} {span(releases)}{count}" if releases else package


def measured_with(found: Map) -> str:
    """What the runs were made with."""
    where = ", ".join(filter(None, [_named("Python", found.python), _named("torch", found.torch), found.platform]))
    return f"ckptdoctor {found.version}, {found.date}: {where}"


def _named(name: str, version: str) -> str:
    return f"{name} {version}" if version else ""


def audit(found: Map) -> str:
    """What came of running inferred cells after all, in one sentence; empty where none was."""
    if found.audit is None:
        return ""
    count, wrong = found.audit.cells, len(found.audit.disagreements)
    ran = f"Audit: {count} inferred {_form(count, 'combination was', 'combinations were')} run as well"
    if not wrong:
        return f"{ran}; {_form(count, 'it agrees', 'all agree')} with the inference."
    return f"{ran}; {wrong} {_form(wrong, 'DISAGREES', 'DISAGREE')} with the inference:"


def notes(found: Map) -> list[str]:
    """What the reader must know to weigh the map."""
    half = {judged.function for run in found.runs for judged in run.functions if judged.forward_only}
    caveat = f"There was no GPU. The backward pass was simulated on CPU: {', '.join(sorted(half))}."
    return [*found.notes, *source_names.notes(found), *([caveat] if half else [])]


def faults(found: Map) -> list[KnownFault]:
    """Each distinct fault of what works or fails; of what cannot be diagnosed ``reasons`` tells."""
    groups: dict[tuple[str, ...], list[tuple[Fault, Run, list[Cell]]]] = {}
    for run, cells in _by_run(found):
        for fault in run.faults if run.verdict != "error" else []:
            groups.setdefault(_identity(fault, run), []).append((fault, run, cells))
    ranges = _Ranges(found)
    known = [_known(group, ranges) for group in groups.values()]
    order = ("error", "warning", "note")
    return sorted(known, key=lambda one: (order.index(one.fault.severity), one.fault.rule))


def _by_run(found: Map) -> list[tuple[Run, list[Cell]]]:
    cells: dict[int, list[Cell]] = {}
    for cell in found.cells:
        cells.setdefault(cell.run, []).append(cell)
    return [(found.runs[index], cells[index]) for index in sorted(cells)]


def _identity(fault: Fault, run: Run) -> tuple[str, ...]:
    versions = _versions(run)
    owners = [place.package or place.file if place else "" for place in (fault.culprit, fault.passed_by)]
    return (fault.rule, fault.severity, gist(fault.title, versions), gist(fault.error, versions), *owners)


def _versions(run: Run) -> dict[str, str]:
    # A folder's release has more than the version that it says of itself, which is what texts have.
    return {**run.stack, **run.packages}


def _known(group: list[tuple[Fault, Run, list[Cell]]], ranges: _Ranges) -> KnownFault:
    fault = group[0][0]
    own, behind = [one for one, _, _ in group], [cell for _, _, cells in group for cell in cells]
    return KnownFault(
        fault=fault,
        title=_common([(one.title, run) for one, run, _ in group], behind),
        error=_common([(one.error, run) for one, run, _ in group], behind),
        read_at=_distinct(one.culprit for one in own),
        passed_at=_distinct(one.passed_by for one in own),
        callables=list(dict.fromkeys(one.callable for one in own if one.callable)),
        where=ranges.of(behind),
    )


def _common(texts: list[tuple[str, Run]], cells: list[Cell]) -> str:
    """A text without the versions that are not the same in all the cells that it stands for."""
    first, run = texts[0]
    if any(text != first for text, _ in texts):
        return gist(first, _versions(run))
    differ = [name for name, at in run.stack.items() if any(one.stack.get(name) != at for one in cells)]
    return gist(first, {name: _versions(run)[name] for name in differ})


def _distinct(places: Iterable[Place | None]) -> list[Place]:
    """Each line once, whatever function or release it was met in first."""
    return list({located(place): place for place in places if place}.values())


def reasons(found: Map) -> list[Reason]:
    """Why combinations cannot be diagnosed, each reason once."""
    groups: dict[str, tuple[list[tuple[str, Run]], list[Cell]]] = {}
    for run, cells in _by_run(found):
        lost = [cell for cell in cells if cell.verdict == "error"]
        if lost:
            texts, all_cells = groups.setdefault(gist(run.summary, _versions(run)), ([], []))
            texts.append((run.summary, run))
            all_cells += lost
    ranges = _Ranges(found)
    return [Reason(_common(texts, cells), ranges.of(cells)) for texts, cells in groups.values()]


def unmet(found: Map) -> list[Reason]:
    """Declared requirements that are not met, each with the combinations that do not meet it."""
    cells: dict[str, list[Cell]] = {}
    for cell in found.cells:
        for text in cell.unmet:
            cells.setdefault(text, []).append(cell)
    whose = [f"{name} {release}" for name, releases in found.axes.items() for release in releases]
    place = {name: at for at, name in enumerate(whose)}
    in_order_of_axes = sorted(cells, key=lambda text: place.get(text.partition(" requires ")[0], len(place)))
    ranges = _Ranges(found)
    return [Reason(text, ranges.of(cells[text])) for text in in_order_of_axes]


class _Ranges:
    """Puts combinations of a map as ranges; models are named where a combination was judged with several."""

    def __init__(self, found: Map) -> None:
        self._names_models, self._packages, self._axes = per_model(found), varied(found), found.axes

    def of(self, cells: Iterable[Cell]) -> list[Where]:
        """The ranges that some cells make up."""
        at: dict[Key, dict[str, Cell]] = {}
        for cell in cells:
            at.setdefault(key_of(cell.stack, self._packages), {})[cell.model] = cell
        points: list[tuple[Box, tuple[str, ...]]] = [
            ({package: (release,) for package, release in key}, tuple(sorted(models)) if self._names_models else ())
            for key, models in at.items()
        ]
        return [self._where(box, models, at) for box, models in joined(points, self._axes)]

    def _where(self, box: Box, models: tuple[str, ...], at: dict[Key, dict[str, Cell]]) -> Where:
        behind = [cell for key in inside(box) for cell in at[key].values()]
        measured = sum(cell.how == "measured" for cell in behind)
        text = label(box, self._packages)
        names = ", ".join(filter(None, models))
        return Where(f"{text} ({names})" if names else text, measured, len(behind))


def share(measured: int, total: int) -> str:
    """How much of a range was run: ``3 of 96 measured``."""
    if measured not in (0, total):
        return f"{measured} of {total} measured"
    how = "measured" if measured else "inferred"
    return how if total == 1 else f"all {total} {how}"


def everywhere(found: Map) -> str:
    """Packages that were the same in every combination, in words; empty where there is none."""
    return ", ".join(f"{package} {version}" for package, version in fixed(found).items())
