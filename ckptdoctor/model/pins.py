"""Declared requirements between installed packages, and which of them a change breaks."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterable, Iterator

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from ckptdoctor.model.evidence import Environment
from ckptdoctor.model.sources import UNKNOWN, own_version


def unmet(environment: Environment) -> list[str]:
    """Declared requirements that the installed versions do not meet, as clauses."""
    return [
        f"{requirement.name} {installed} is installed, and {clause(who, requirement, environment)}"
        for who, requirement, installed in _unmet(environment)
    ]


def conflicts(environment: Environment) -> list[str]:
    """The same without what is installed."""
    return [clause(who, requirement, environment) for who, requirement, _ in _unmet(environment)]


def clause(who: str, requirement: Requirement, environment: Environment) -> str:
    """A requirement of a package, for people: ``llamafactory 0.9.2 requires transformers<=4.49.0``."""
    return f"{who} {environment.version(who)} requires {requirement.name}{requirement.specifier}"


def broken(before: Environment, after: Environment) -> list[str]:
    """Declared requirements that a change leaves unmet, and that were not unmet already.

    Args:
        before: The target as it is, with all that each package requires.
        after: The same with the change.
    """
    known = {(who, requirement.name) for who, requirement, _ in _unmet(before)}
    return [
        clause(who, requirement, after) for who, requirement, _ in _unmet(after) if (who, requirement.name) not in known
    ]


def missing(package: str, before: Environment, after: Environment) -> list[str]:
    """What another release of a package requires, and nobody has installed, where the release before did not lack it."""
    lacked = {requirement.name for requirement in _absent(package, before)}
    return [str(requirement) for requirement in _absent(package, after) if requirement.name not in lacked]


def is_whole(package: str, environment: Environment) -> bool:
    """Whether all that a package requires is installed, in whatever release."""
    return not any(True for _ in _absent(package, environment))


def _absent(package: str, environment: Environment) -> Iterator[Requirement]:
    """Requirements of a package that no installed distribution answers to; markers are taken off once they apply."""
    requires = next((one.requires for one in environment.packages if one.name == package), ())
    for requirement in parse(requires):
        if applies(requirement, environment) and not environment.version(canonicalize_name(requirement.name)):
            bare = copy.copy(requirement)
            bare.marker = None
            yield bare


def _unmet(environment: Environment) -> Iterator[tuple[str, Requirement, str]]:
    """Who requires it, the requirement, and what is installed in its place."""
    for package in environment.packages:
        for requirement in parse(package.requires):
            installed = environment.version(canonicalize_name(requirement.name))
            if installed and not allows(requirement, installed, environment):
                yield package.name, requirement, installed


def parse(requirements: Iterable[str]) -> Iterator[Requirement]:
    """Requirements as packages declare them; what is none is passed over, as it binds nobody."""
    for text in requirements:
        if (requirement := _parsed(text)) is not None:
            yield requirement


@functools.lru_cache(maxsize=4096)
def _parsed(text: str) -> Requirement | None:
    try:
        return Requirement(text)
    except InvalidRequirement:
        return None


def applies(requirement: Requirement, environment: Environment) -> bool:
    """Whether a requirement concerns this target: those of extras and of other Pythons do not."""
    python = ".".join(environment.python.split(".")[:2])
    markers = {"extra": "", "python_version": python, "python_full_version": environment.python}
    system, _, machine = environment.platform.partition(" ")
    if machine:
        markers |= {"sys_platform": system, "platform_system": system.capitalize(), "platform_machine": machine}
    return requirement.marker is None or requirement.marker.evaluate(markers)


def allows(requirement: Requirement, release: str, environment: Environment) -> bool:
    """Whether a release meets a requirement, or the requirement does not apply to this target."""
    if not applies(requirement, environment) or own_version(release) == UNKNOWN:
        return True
    try:
        return requirement.specifier.contains(Version(release), prereleases=True)
    except InvalidVersion:
        return True
