"""All that was measured of trainers and of model families, as one page that answers questions."""

from __future__ import annotations

from ckptdoctor.knowledge import Knowledge
from ckptdoctor.output import Style
from ckptdoctor.output.map.html import with_families


def render(known: Knowledge, style: Style) -> str:
    """Prints the knowledge as a page; ``style`` is ignored."""
    return with_families(known.trainers, known.families)
