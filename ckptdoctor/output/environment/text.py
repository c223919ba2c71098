"""The stack of an environment, for people."""

from __future__ import annotations

from ckptdoctor.model.evidence import Environment
from ckptdoctor.model.pins import unmet
from ckptdoctor.output import Style
from ckptdoctor.output.layout import columns, page
from ckptdoctor.words.escape import plain


def render(environment: Environment, style: Style) -> str:
    """Python, the packages of the stack with their folders, and requirements that are not met."""
    locations = {package.name: package.location for package in environment.packages}
    rows = [[name, environment.version(name), locations.get(name, "")] for name in environment.stack]
    broken = [f"  {line}" for line in unmet(environment)]
    text = page(
        [
            [f"Python {environment.python}  {environment.executable}", environment.platform],
            columns(rows) if rows else ["no package of the stack is installed"],
            ["requirements that are not met:", *broken] if broken else [],
        ]
    )
    return plain(text, ascii_only=not style.unicode)
