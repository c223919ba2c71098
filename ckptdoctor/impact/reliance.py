"""Which lines of trainers rely on a contract that changed: read with the rules of ``scan``, not run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from msgspec import structs

from ckptdoctor.model.evidence import Place
from ckptdoctor.model.impact import ContractChange, Reliance
from ckptdoctor.scan import files
from ckptdoctor.scan.module import Module
from ckptdoctor.scan.packages import Installed, Packages
from ckptdoctor.scan.project import Project
from ckptdoctor.scan.releases import Facts
from ckptdoctor.scan.rule import ScanHit, ScanRule
from ckptdoctor.scan.rules import rules
from ckptdoctor.words.wording import relative


class Sides(NamedTuple):
    """What the source of both sides says of checkpointing, by release."""

    base: str
    head: str
    facts: Mapping[str, Facts]


class Found(NamedTuple):
    """A line, and the rule that found it."""

    rule: ScanRule
    line: Reliance


def read(package: str, folder: Path, models: Path | None, sides: Sides) -> Iterator[Found]:
    """The lines of a package that rely on how transformers checkpoints.

    Args:
        package: A trainer.
        folder: Where it is installed.
        models: Where transformers is.
        sides: Base and head.
    """
    packages = Packages([str(folder), *([str(models)] if models else [])])
    installed = packages.find(package)
    if installed is None:
        return
    watching = {code: rule for code, rule in rules().items() if rule.watched}
    found = files.read(installed.places, {code: rule.telling for code, rule in watching.items()})
    project = Project([module for module, _ in found.modules], list(packages.roots))
    for module, codes in found.modules:
        for code in codes:
            for hit in watching[code].find(module, project, sides.facts):
                yield Found(watching[code], _line(hit, module, installed, sides))


def _line(hit: ScanHit, module: Module, installed: Installed, sides: Sides) -> Reliance:
    module = hit.module or module
    number = getattr(hit.node, "lineno", 1)
    code = module.lines[number - 1].strip() if number <= len(module.lines) else ""
    place = Place(relative(str(module.path)), number, package=installed.name, version=installed.version, code=code)
    breaks = hit.breaks.get(sides.head, "") if sides.base not in hit.breaks else ""
    return Reliance(installed.name, installed.version, place, hit.title, hit.certainty, breaks)


def assigned(changes: Iterable[ContractChange], found: Sequence[Found]) -> list[ContractChange]:
    """The same changes, each with the lines that rely on it, those first that break."""
    return [structs.replace(one, relied=_of(one, found)) for one in changes]


def _of(change: ContractChange, found: Sequence[Found]) -> list[Reliance]:
    lines = [one.line for one in found if change.watched in one.rule.watched]
    order = ("certain", "likely", "possible")
    return sorted(lines, key=lambda one: (not one.breaks, order.index(one.certainty), one.package, one.place.file))
