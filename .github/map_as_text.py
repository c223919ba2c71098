"""Prints all of a map, a fact a line, whatever the order in which it was run: ``map_as_text.py FILE``.

For git, which compares what it prints: see CONTRIBUTING.md.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from ckptdoctor.knowledge import packed
from ckptdoctor.model.compatibility import Cell, Map, Run


def main(file: str) -> None:
    """Print a map."""
    sys.stdout.writelines(f"{line}\n" for line in lines(packed.read(Path(file))))


def lines(found: Map) -> Iterator[str]:
    """What is said of the whole map, then each run, then each cell with the run that it rests on."""
    whole = msgspec.to_builtins(msgspec.structs.replace(found, runs=[], cells=[]))
    for name in ("runs", "cells"):
        del whole[name]
    for name, value in whole.items():
        facts = (
            value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else [("", value)]
        )
        yield from (f"{name} {key}: {_json(fact)}" for key, fact in facts)
    yield from sorted(f"run {_name(run)}: {_json(run)}" for run in found.runs)
    yield from sorted(f"cell {_name(cell)}: {_fact(cell, found)}" for cell in found.cells)


def _fact(cell: Cell, found: Map) -> str:
    unmet = f" {_json(cell.unmet)}" if cell.unmet else ""
    how = "measured" if cell.how == "measured" else f"inferred from {_name(found.run_of(cell))}"
    return f"{cell.verdict}, {how}{unmet}"


def _name(one: Run | Cell) -> str:
    return " ".join([*(f"{name}=={release}" for name, release in sorted(one.stack.items())), one.model])


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


if __name__ == "__main__":
    main(sys.argv[1])
