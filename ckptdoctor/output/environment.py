"""The stack of an environment, for people."""

from __future__ import annotations

from ckptdoctor.model.evidence import Environment
from ckptdoctor.output import Style
from ckptdoctor.words.escape import plain


def render(environment: Environment, style: Style) -> str:
    """Python, the packages of the stack with where they lie, and declared requirements that are not met."""
    from tabulate import tabulate

    from ckptdoctor.model.pins import unmet

    rows = [[name, environment.version(name), _location(environment, name)] for name in environment.stack]
    lines = [f"Python {environment.python}  {environment.executable}", environment.platform, ""]
    lines += (
        [tabulate(rows, tablefmt="plain", disable_numparse=True)] if rows else ["no package of the stack is installed"]
    )
    broken = unmet(environment)
    if broken:
        lines += ["", "declared requirements that are not met:", *(f"  {line}" for line in broken)]
    return plain("\n".join(lines)) + "\n"


def _location(environment: Environment, name: str) -> str:
    return next((package.location for package in environment.packages if package.name == name), "")
