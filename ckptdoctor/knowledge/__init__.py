"""What was measured: which releases work together. Packed maps beside this file, each written by ``ckptdoctor.measure``."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import NamedTuple

import msgspec

from ckptdoctor import catalog
from ckptdoctor.errors import UsageFault
from ckptdoctor.knowledge import layers, packed
from ckptdoctor.model import declared
from ckptdoctor.model.compatibility import How, Judged, Map, Run
from ckptdoctor.words.wording import counted

TRAINERS_FILE = "trainers.json.gz"
"""transformers with each release of each trainer."""

DEEPSPEED_FILE = "deepspeed.json.gz"
"""transformers with DeepSpeed, under its own engines."""

FAMILIES_FILE = "families.json.gz"
"""transformers alone, with every family that learns a language and torch's own functions."""

FOLDER = Path(__file__).parent
"""Where the maps are."""


class Knowledge(NamedTuple):
    """All that is known of trainers and of model families."""

    trainers: Map
    families: Map


@functools.cache
def shipped(file: str = TRAINERS_FILE) -> Map:
    """A map that is shipped with the package."""
    return packed.read(FOLDER / file)


@functools.cache
def load(file: str = TRAINERS_FILE) -> Map:
    """A map that is shipped with the package, with what ``known --extend`` added to it on this machine."""
    own = layers.own(file)
    if own is None:
        return shipped(file)
    found = layers.together(shipped(file), own)
    here = sum(found.run_of(cell).here for cell in found.cells)
    note = (
        f"{counted(here, 'combination')} rest on runs made here by `ckptdoctor known --extend`, with torch {own.torch}."
    )
    return msgspec.structs.replace(found, notes=[*found.notes, note] if here else found.notes)


def measured(run: Run, known: Map) -> str:
    """When and with which torch a run of a map was made, as the end of a clause; says so if it was made on this machine."""
    torch = run.packages.get("torch") or known.torch
    return f"measured {'here ' if run.here else ''}on {run.date} with torch {torch}"


def about(package: str = "", model: str = "") -> Map:
    """The part of the shipped maps that concerns a package and a model family; empty for all.

    Raises:
        UsageFault: Nothing is known of it.
    """
    whole = load(DEEPSPEED_FILE if package == "deepspeed" else TRAINERS_FILE)
    if package and package not in whole.axes:
        known = ", ".join(sorted({*load().axes, "deepspeed"}))
        raise UsageFault(f"Nothing is known of '{package}'.", f"known are {known}; `ckptdoctor matrix` measures others")
    if package == "transformers" and model and model not in whole.models():
        whole = load(FAMILIES_FILE)
    if model and model not in whole.models():
        raise UsageFault(f"Nothing is known of '{model}'.", f"measured were {', '.join(whole.models())}")
    others = {name for name in catalog.with_functions() if catalog.is_trainer(package) and name != package}
    cells = [cell for cell in whole.cells if not others & cell.stack.keys() and model in ("", cell.model)]
    there = {pair for cell in cells for pair in cell.stack.items()}
    axes = {
        name: [release for release in releases if (name, release) in there]
        for name, releases in whole.axes.items()
        if name not in others
    }
    return declared.marked(msgspec.structs.replace(whole, axes=axes, cells=cells))


class Worked(NamedTuple):
    """A checkpoint function with which training is known to work, on one stack, without an engine."""

    transformers: str
    version: str
    """Release of the trainer."""
    judged: Judged
    how: How
    run: Run
    """What was run: the stack itself, or the one that it is inferred from."""


def works(package: str, model: str, **releases: str) -> list[Worked]:
    """What is known to work with a trainer.

    Args:
        package: The trainer.
        model: Model family.
        releases: What stays as it is, by package.
    """
    known = load()
    return [
        Worked(cell.stack["transformers"], cell.stack[package], judged, cell.how, known.run_of(cell))
        for cell in known.matching(releases, model)
        if package in cell.stack
        for judged in known.run_of(cell).functions
        if judged.verdict == "ok" and judged.engine == "none"
    ]
