"""What the releases of a map declare to require, and which of its combinations do not meet it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ckptdoctor.model import pins
from ckptdoctor.model.compatibility import Map
from ckptdoctor.model.evidence import Environment, Package


def required(stack: Mapping[str, str], found: Map) -> list[str]:
    """All that the releases of a combination require, as clauses; nothing of a release whose requirements are not known.

    Args:
        stack: Releases by package.
        found: The map, which has the requirements, and the Python and platform that they are for.
    """
    environment = _environment(stack, found)
    return [
        pins.clause(package.name, requirement, environment)
        for package in environment.packages
        for requirement in pins.parse(package.requires)
        if pins.applies(requirement, environment)
    ]


def unmet(stack: Mapping[str, str], found: Map) -> list[str]:
    """Those of them that another release of the combination does not meet."""
    return pins.conflicts(_environment(stack, found))


def marked(found: Map) -> Map:
    """A copy of a map whose cells say what they do not meet."""
    cells = [msgspec.structs.replace(cell, unmet=unmet(cell.stack, found)) for cell in found.cells]
    return msgspec.structs.replace(found, cells=cells)


def _environment(stack: Mapping[str, str], found: Map) -> Environment:
    packages = tuple(
        Package(name, release, requires=tuple(found.requires.get(name, {}).get(release, ())))
        for name, release in stack.items()
    )
    return Environment(stack.get("python") or found.python, "", found.platform, packages)
