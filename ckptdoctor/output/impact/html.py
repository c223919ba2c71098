"""For a browser: one page with each change in a fold, what fixes it to copy, and the lines that rely on what changed."""

from __future__ import annotations

from dataclasses import dataclass

from ckptdoctor.model.compatibility import Fault
from ckptdoctor.model.evidence import Place
from ckptdoctor.model.impact import KINDS, Change, ContractChange, Impact, Kind, Outcome
from ckptdoctor.output import Style, page
from ckptdoctor.output.views import changed
from ckptdoctor.words.escape import one_line
from ckptdoctor.words.wording import listed, located

_OPEN = 3
"""So many of the newly broken are unfolded from the start."""

_LOOKS: dict[Kind, str] = {"broken": "fail", "warned": "error", "otherwise": "error", "working": "ok", "cleared": "ok"}


@dataclass(frozen=True)
class Line:
    """A line of code with its label."""

    label: str
    where: str
    code: str


@dataclass(frozen=True)
class ShownSide:
    """One side of a change.

    Attributes:
        name: ``base`` or ``head``.
        words: What it came to.
        callable: What the model passes to the checkpoint function.
        passed_by: The line that passes it, if no fault names it.
        faults: Each fault's error or title, and its lines.
    """

    name: str
    words: str
    callable: str
    passed_by: str
    faults: list[tuple[str, list[Line]]]


@dataclass(frozen=True)
class Shown:
    """A change as the page shows it."""

    change: Change
    id: str
    title: str
    models: str
    rules: str
    pins: str
    sides: list[ShownSide]
    is_open: bool


@dataclass(frozen=True)
class Group:
    """All changes of a kind."""

    title: str
    look: str
    changes: list[Shown]


@dataclass(frozen=True)
class ShownContract:
    """A contract that changed, and the lines of trainers that rely on it."""

    watched: str
    base: str
    head: str
    relied: str
    short: str
    models: str
    lines: list[tuple[str, str, str]]


def render(found: Impact, style: Style) -> str:
    """Prints an impact as a page; ``style`` is ignored."""
    found = changed.clean(found)
    groups = [
        Group(changed.TITLES[kind], _LOOKS[kind], [_shown(at, one) for at, one in enumerate(of_kind, 1)])
        for kind in KINDS
        if (of_kind := found.of_kind(kind))
    ]
    look, word = _verdict(found)
    return page.render(
        "impact",
        found=found,
        head=changed.head(found),
        verdict=changed.verdict(found),
        look=look,
        word=word,
        sentences=list(filter(None, [changed.commits(found), changed.code(found), changed.tried(found)])),
        groups=groups,
        contracts=[_contract(one) for one in found.contracts],
        not_compared=[changed.unknown(one) for one in found.not_compared],
    )


def _verdict(found: Impact) -> tuple[str, str]:
    """How the verdict is coloured, and in a word or two."""
    if found.of_kind("broken"):
        return "fail", "BREAKS"
    if found.not_compared and not found.compared:
        return "error", "NOT COMPARED"
    return "ok", "BREAKS NOTHING"


def _shown(number: int, one: Change) -> Shown:
    return Shown(
        change=one,
        id=f"{one.kind}-{number}",
        title=changed.title(one),
        models=listed(one.models, len(one.models)),
        rules=changed.rules(one),
        pins=changed.pins(one),
        sides=[_side(*side) for side in changed.sides(one)],
        is_open=one.kind == "broken" and number <= _OPEN,
    )


def _side(name: str, words: str, side: Outcome) -> ShownSide:
    is_told = any(fault.passed_by for fault in side.faults)
    return ShownSide(
        name=name,
        words=words,
        callable=one_line(side.callable),
        passed_by=located(side.passed_by) if side.passed_by and not is_told else "",
        faults=[(one_line(fault.error or fault.title), _lines(fault)) for fault in side.faults],
    )


def _lines(fault: Fault) -> list[Line]:
    return [_line(label, place) for label, place in changed.lines(fault)]


def _line(label: str, place: Place) -> Line:
    return Line(label, located(place), one_line(place.code))


def _contract(one: ContractChange) -> ShownContract:
    return ShownContract(
        watched=changed.WATCHED[one.watched],
        base=one.base,
        head=one.head,
        relied=changed.relied(one),
        short=listed(one.models, 3),
        models=listed(one.models, len(one.models)),
        lines=[
            (located(each.place), each.title, f"{each.breaks} ({each.certainty})" if each.breaks else "")
            for each in sorted(one.relied, key=lambda each: not each.breaks)
        ],
    )
