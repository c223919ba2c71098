"""The map as one page that needs nothing else: it answers questions, shows the map, and the evidence behind each cell."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Sequence
from typing import Any

from ckptdoctor.model.compatibility import Map
from ckptdoctor.output import Style, page
from ckptdoctor.output.views import digest, timeline
from ckptdoctor.output.views.choices import Choices
from ckptdoctor.output.views.grid import Grid
from ckptdoctor.output.views.source_names import named
from ckptdoctor.output.views.table import Joined, Sheet, sheets
from ckptdoctor.rules import RULES, label_of
from ckptdoctor.words.escape import escaped
from ckptdoctor.words.wording import located

_LINES_SHOWN = 3


def render(found: Map, style: Style) -> str:
    """Prints a map as a page; ``style`` is ignored."""
    return with_families(found, None)


def with_families(found: Map, families: Map | None) -> str:
    """A map's page.

    Args:
        found: The map.
        families: The shipped map of all model families, if the page is to answer questions about these as well.
    """
    # Escaped as a whole, so that no character hides or turns round what the page shows.
    found, families = named(escaped(found)), escaped(families)
    choices = Choices(found, families)
    grid, joined = Grid(found, choices), sheets(found)
    data = {
        **grid.data(joined, sheets(found, join=False)),
        "choices": choices.data(),
        "is_shipped": families is not None,
    }
    return page.render(
        "map",
        data=_packed(data),
        digest=digest,
        found=found,
        timeline=timeline.of(found, families),
        tables=[(sheet, [[_cell(cell, sheet, grid) for cell in row.cells] for row in sheet.rows]) for sheet in joined],
        label_of=label_of,
        meaning_of=lambda code: RULES[code].meaning if code in RULES else "",
        located=lambda places: _some([located(place) for place in places]),
        some=_some,
    )


def _packed(data: Any) -> str:
    """JSON for the page's script: compressed, since a page with all of it would have several megabytes."""
    text = json.dumps(data, separators=(",", ":")).encode()
    return base64.b64encode(gzip.compress(text, 9, mtime=0)).decode()


def _cell(cell: Joined | None, sheet: Sheet, grid: Grid) -> tuple[str, list[str]]:
    """The look of a cell and its lines, for who runs no script."""
    if cell is None:
        return "none", []
    lines = [
        " ".join([cell.word, *(cell.rules if cell.verdict == "fail" else [])]),
        *grid.faults(cell),
        grid.fix_line(cell, sheet.title),
        f"{cell.measured}/{len(cell.cells)} measured",
        f"requirements forbid {cell.outside}/{len(cell.cells)}" if cell.outside else "",
    ]
    return cell.verdict.replace(" ", "-"), list(filter(None, lines))


def _some(texts: Sequence[str]) -> list[str]:
    more = len(texts) - _LINES_SHOWN
    return [*texts[:_LINES_SHOWN], *([f"and {more} more"] if more > 0 else [])]
