"""What was measured on this machine: maps in the cache that add to those that are shipped."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
from packaging.version import InvalidVersion, Version

from ckptdoctor.knowledge import packed
from ckptdoctor.model.compatibility import Cell, Map
from ckptdoctor.store import locations, writing


def own(file: str) -> Map | None:
    """What ``known --extend`` added to a shipped map on this machine; none if there is nothing, or nothing that can be read."""
    folder = locations.known_here()
    if folder is not None:
        with suppress(OSError, msgspec.MsgspecError, UnicodeDecodeError, zlib.error):
            return packed.read(folder / file)
    return None


def keep(file: str, found: Map) -> Path:
    """Write what adds to a shipped map on this machine.

    Raises:
        OSError: It cannot be written, and is as it was.
    """
    path = locations.cache() / locations.KNOWLEDGE / file
    writing.keep(path, packed.pack(found))
    return path


def together(first: Map, second: Map) -> Map:
    """A map and what another one adds to it: combinations that only the other has, with the runs that they rest on."""
    there = {_key(cell) for cell in first.cells}
    runs, cells, number = list(first.runs), list(first.cells), dict[int, int]()
    for cell in second.cells:
        if _key(cell) in there:
            continue
        if cell.run not in number:
            number[cell.run] = len(runs)
            runs.append(second.runs[cell.run])
        cells.append(msgspec.structs.replace(cell, run=number[cell.run]))
    requires = {
        name: {**second.requires.get(name, {}), **first.requires.get(name, {})}
        for name in {**first.requires, **second.requires}
    }
    files = {
        name: {**second.files.get(name, {}), **first.files.get(name, {})} for name in {**first.files, **second.files}
    }
    released = {
        name: {**second.released.get(name, {}), **first.released.get(name, {})}
        for name in {**first.released, **second.released}
    }
    axes = _axes(first.axes, second.axes)
    return msgspec.structs.replace(
        first, axes=axes, runs=runs, cells=cells, requires=requires, files=files, released=released
    )


def part(found: Map, cells: Sequence[Cell]) -> Map:
    """A map with some of its cells, the runs that they rest on, and the releases in them."""
    numbers = sorted({cell.run for cell in cells})
    at = {number: index for index, number in enumerate(numbers)}
    there = {pair for cell in cells for pair in cell.stack.items()}
    axes = {name: [one for one in releases if (name, one) in there] for name, releases in found.axes.items()}
    return msgspec.structs.replace(
        found,
        axes={name: releases for name, releases in axes.items() if releases},
        files={
            name: {release: digests for release, digests in each.items() if (name, release) in there}
            for name, each in found.files.items()
        },
        runs=[found.runs[number] for number in numbers],
        cells=[msgspec.structs.replace(cell, run=at[cell.run]) for cell in cells],
    )


def _key(cell: Cell) -> tuple[object, ...]:
    return frozenset(cell.stack.items()), cell.model


def _axes(first: Mapping[str, Sequence[str]], second: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    return {name: sorted({*first.get(name, ()), *second.get(name, ())}, key=_order) for name in {**first, **second}}


def _order(release: str) -> tuple[bool, Version, str]:
    try:
        return False, Version(release), release
    except InvalidVersion:  # a folder or a commit
        return True, Version("0"), release
