"""What a log shows, as JSON."""

from __future__ import annotations

from ckptdoctor.model.explanation import Explanation
from ckptdoctor.output import Style
from ckptdoctor.output.plain_json import indented


def render(found: Explanation, style: Style) -> str:
    """Prints an explanation as indented JSON; ``style`` is ignored."""
    return indented(found)
