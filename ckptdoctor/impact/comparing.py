"""Base against head: what checkpoint functions did on both, and only where it is not the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from msgspec import UNSET, structs

from ckptdoctor.model.compatibility import Cell, Fault, Judged, Map, Run
from ckptdoctor.model.evidence import Evidence, Place
from ckptdoctor.model.impact import Change, Kind, NotCompared, Outcome
from ckptdoctor.model.report import DECIDED
from ckptdoctor.planning.options import OWN_MODEL, is_torchs
from ckptdoctor.words.wording import relative

Observed = Mapping[tuple[str, str], Evidence]
"""By release of the package that is compared and model family: the usual step with torch's own function."""


@dataclass(frozen=True)
class Sides:
    """The package that is compared, and its two releases."""

    package: str
    base: str
    head: str


@dataclass
class Compared:
    """What came of comparing maps."""

    changes: list[Change] = field(default_factory=list)
    not_compared: list[NotCompared] = field(default_factory=list)
    steps: int = 0
    """Checkpointed steps that were judged on both sides."""

    def add(self, found: Map, sides: Sides, observed: Observed, trainer_switches_on: bool = False) -> None:
        """Compare the two sides of a map.

        Args:
            found: A map that has base and head on one of its axes.
            sides: The package of that axis, and its two releases.
            observed: What models passed on each side.
            trainer_switches_on: Whether Trainer switched checkpointing on too; torch's own functions are not told apart then.
        """
        unknown: dict[tuple[str, str], list[str]] = {}
        for base, head in _pairs(found, sides):
            runs = found.run_of(base), found.run_of(head)
            lost = [one.summary for one in runs if one.verdict == "error"]
            if lost:
                which = "base and head" if len(lost) == 2 else "base" if runs[0].verdict == "error" else "head"
                unknown.setdefault((lost[-1], which), []).append(_label(head, sides))
                continue
            for one in _functions((base, head), runs, sides, observed):
                if not (trainer_switches_on and is_torchs(one.function)):
                    self._take(one, head, sides, found, unknown, trainer_switches_on)
        self.not_compared += [NotCompared(why, side, what) for (why, side), what in unknown.items()]  # type: ignore[arg-type]
        self.changes = _together(self.changes)

    def _take(
        self,
        pair: _Pair,
        cell: Cell,
        sides: Sides,
        found: Map,
        unknown: dict[tuple[str, str], list[str]],
        trainer_switches_on: bool,
    ) -> None:
        undecided = [one for one in (pair.base, pair.head) if one.verdict not in DECIDED]
        if undecided:
            which = "base and head" if len(undecided) == 2 else "base" if undecided[0] is pair.base else "head"
            what = f"{pair.function} with {_label(cell, sides)}"
            unknown.setdefault((undecided[-1].why or "It was not judged.", which), []).append(what)
            return
        self.steps += 1
        if pair.kind:
            stack = {name: release for name, release in cell.stack.items() if name != sides.package}
            required = all(stack[name] in found.requires.get(name, {}) for name in found.requires if name in stack)
            self.changes.append(
                Change(
                    pair.kind,
                    [pair.function],
                    stack,
                    [pair.convention or cell.model],
                    pair.base.outcome,
                    pair.head.outcome,
                    pair.engine,
                    trainer_switches_on,
                    unmet=list(cell.unmet),
                    required=required,
                )
            )


@dataclass(frozen=True)
class _Side:
    verdict: str
    why: str
    faults: Sequence[Fault]
    outcome: Outcome


@dataclass(frozen=True)
class _Pair:
    """One checkpoint function on both sides."""

    function: str
    engine: str
    convention: str
    base: _Side
    head: _Side

    @property
    def kind(self) -> Kind | None:
        """What became of it; None if it is the same."""
        works = self.base.verdict == "ok", self.head.verdict == "ok"
        if works == (True, False):
            return "broken"
        if works == (False, True):
            return "working"
        gone, new = self.base.outcome.faults, self.head.outcome.faults
        if works == (False, False):
            return "otherwise" if new or gone else None
        return "warned" if new else "cleared" if gone else None


def _pairs(found: Map, sides: Sides) -> Iterator[tuple[Cell, Cell]]:
    """Cells that differ in nothing but the release of the package."""
    by_rest: dict[tuple[object, ...], dict[str, Cell]] = {}
    for cell in found.cells:
        rest = tuple((name, release) for name, release in cell.stack.items() if name != sides.package)
        by_rest.setdefault((rest, cell.model), {})[cell.stack[sides.package]] = cell
    for both in by_rest.values():
        if sides.base in both and sides.head in both:
            yield both[sides.base], both[sides.head]


def _functions(cells: tuple[Cell, Cell], runs: tuple[Run, Run], sides: Sides, observed: Observed) -> Iterator[_Pair]:
    """Each step of a combination; a function that a side does not have is not compared."""
    ours, theirs = map(_steps, runs)
    for key in (one for one in ours if one in theirs):
        function, engine, convention, _ = key
        found = [
            [fault for fault in run.faults if function in fault.functions and fault.rule in judged.rules]
            for run, judged in zip(runs, (ours[key], theirs[key]), strict=True)
        ]
        rules = [{one.rule for one in faults} for faults in found]
        made = []
        for at, (cell, judged) in enumerate(zip(cells, (ours[key], theirs[key]), strict=True)):
            own = [_shown(one) for one in found[at] if one.rule not in rules[1 - at]]
            seen = observed.get((cell.stack.get("transformers", ""), cell.model))
            outcome = Outcome(judged.verdict, cell.how, own, *_passed(seen))
            made.append(_Side(judged.verdict, judged.why, found[at], outcome))
        yield _Pair(function, engine, convention, *made)


def _shown(fault: Fault) -> Fault:
    """A fault without the line of our own model, which lies in a folder of this machine."""
    by = fault.passed_by
    return structs.replace(fault, passed_by=None) if by is not None and not by.package else fault


def _steps(run: Run) -> dict[tuple[str, str, str, int], Judged]:
    """Each step of each checkpoint function; of several, such as one with packed sequences, their place tells which it is."""
    found: dict[tuple[str, str, str, int], Judged] = {}
    met: Counter[tuple[str, str, str]] = Counter()
    for one in run.functions:
        key = _key(one, run)
        found[(*key, met[key])] = one
        met[key] += 1
    return found


def _key(judged: Judged, run: Run) -> tuple[str, str, str]:
    """What tells a checkpoint function's step from others: real models have one convention, our own has several."""
    return judged.function, judged.engine, judged.convention if run.model == OWN_MODEL else ""


def _passed(seen: Evidence | None) -> tuple[str, Place | None]:
    """The callable that a model passes, and the line that does."""
    first = seen.handovers[0] if seen is not None and seen.handovers else None
    if first is None:
        return "", None
    return first.callable.text, structs.replace(first.by, file=relative(first.by.file), source=UNSET)


def _label(cell: Cell, sides: Sides) -> str:
    others = ", ".join(f"{name} {release}" for name, release in cell.stack.items() if name != sides.package)
    return f"{others} ({cell.model})" if others and cell.model else others or cell.model


def _together(changes: Sequence[Change]) -> list[Change]:
    """Changes that are the same but for the model, in one; and those that are the same but for the function."""
    by_function = _merged(changes, "models", lambda one: tuple(one.functions))
    return _merged(by_function, "functions", lambda one: tuple(one.models))


def _merged(changes: Sequence[Change], what: str, beside: Callable[[Change], object]) -> list[Change]:
    found: dict[tuple[object, ...], Change] = {}
    for one in changes:
        faults = (_identity(fault) for side in (one.base, one.head) for fault in side.faults)
        key = (one.kind, one.engine, one.trainer_switches_on, tuple(one.stack.items()), beside(one), *faults)
        if key in found:
            names = dict.fromkeys([*getattr(found[key], what), *getattr(one, what)])
            found[key] = structs.replace(found[key], **{what: list(names)})
        else:
            found[key] = one
    return list(found.values())


def _identity(fault: Fault) -> tuple[object, ...]:
    place = fault.culprit
    # Lines of one family's own code are another fault in each family; its title names classes.
    where = (place.file, place.line) if place else ()
    return fault.rule, fault.severity, where
