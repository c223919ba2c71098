"""The facts of an environment, as JSON."""

from __future__ import annotations

from ckptdoctor.model.evidence import Environment
from ckptdoctor.output import Style
from ckptdoctor.output.plain_json import indented


def render(environment: Environment, style: Style) -> str:
    """Prints an environment as indented JSON; ``style`` is ignored."""
    return indented(environment)
