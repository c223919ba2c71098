"""The map as CSV, for spreadsheets: a line for each combination."""

from __future__ import annotations

import csv
import io

from ckptdoctor.model.compatibility import Cell, Map, Run
from ckptdoctor.output import Style
from ckptdoctor.output.views.source_names import named
from ckptdoctor.output.views.table import fixed, rules_of
from ckptdoctor.words.escape import plain

_FORMULA = ("=", "+", "-", "@", "\t")
"""How a cell begins that a spreadsheet would calculate."""


def render(found: Map, style: Style) -> str:
    """Prints every cell of a map, with the run that it rests on; ``style`` is ignored."""
    found = named(found)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    head = [*found.axes, "model", "verdict", "how", "rules", "inferred_from", "why", "date"]
    writer.writerow(map(inert, head))
    writer.writerows(map(inert, _line(cell, found)) for cell in found.cells)
    return text.getvalue()


def _line(cell: Cell, found: Map) -> list[str]:
    run = found.run_of(cell)
    return [
        *({**fixed(found), **cell.stack}.get(package, "") for package in found.axes),
        cell.model,
        cell.verdict,
        cell.how,
        " ".join(rules_of(run, "error", "warning")),
        _stack(run) if cell.how == "inferred" else "",
        "" if cell.verdict == "ok" else run.summary,
        run.date,
    ]


def _stack(run: Run) -> str:
    return " ".join(f"{package}=={version}" for package, version in run.stack.items())


def inert(text: str) -> str:
    """A value that neither a terminal nor a spreadsheet acts on, on one line."""
    shown = plain(" ".join(text.split()))
    return f"'{shown}" if shown.startswith(_FORMULA) else shown
