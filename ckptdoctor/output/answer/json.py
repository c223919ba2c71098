"""An answer, as JSON."""

from __future__ import annotations

from ckptdoctor.model.answer import Answer
from ckptdoctor.output import Style
from ckptdoctor.output.plain_json import indented


def render(answer: Answer, style: Style) -> str:
    """Prints an answer as indented JSON; ``style`` is ignored."""
    return indented(answer)
