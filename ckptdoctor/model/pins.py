"""Requirements between installed packages, as declared and as checked when a job starts, and which of them a change breaks."""

from __future__ import annotations

import copy
import functools
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from ckptdoctor.model.evidence import Environment, Package, StartCheck
from ckptdoctor.model.sources import UNKNOWN, own_version


class Unmet(NamedTuple):
    """A requirement that the installed releases do not meet."""

    who: str
    """The package that requires it."""
    requirement: Requirement
    installed: str
    """The release in its place."""
    check: StartCheck | None = None
    """Then, why the command of the package that requires it ends when it starts."""

    @property
    def is_mandatory(self) -> bool:
        """Whether no setting lets a job start that uses another release."""
        return self.check is not None and not self.check.unless

    def whole(self, environment: Environment) -> str:
        """For people, with what is installed."""
        name = f"{self.requirement.name} {self.installed}"
        if self.check is None:
            return f"{name} is installed, and {self.clause(environment)}"
        who = f"{self.who} {environment.version(self.who)}"
        without = f" without {self.check.unless}=1" if self.check.unless else ", whatever is set"
        return f"{who} starts no job with {name}{without}: it requires {self.requirement.specifier}"

    def clause(self, environment: Environment) -> str:
        """For people: ``llamafactory 0.9.2 requires transformers<=4.49.0``, and that its command ends if it does."""
        text = clause(self.who, self.requirement, environment)
        if self.check is None:
            return text
        unless = f" unless {self.check.unless}=1 is set" if self.check.unless else ", whatever is set"
        return f"{text} and starts no job with another {self.requirement.name}{unless}"


def unmet(environment: Environment) -> list[str]:
    """Requirements that the installed versions do not meet, as clauses."""
    return [one.whole(environment) for one in _unmet(environment)]


def conflicts(environment: Environment) -> list[str]:
    """The same without what is installed."""
    return [one.clause(environment) for one in _unmet(environment)]


def blocking(environment: Environment, used: Collection[str]) -> list[Unmet]:
    """Why no setting lets a job start that uses some packages."""
    return [one for one in refusing(environment, used) if one.is_mandatory]


def refusing(environment: Environment, used: Collection[str]) -> list[Unmet]:
    """Why a job that uses some packages does not start as things are."""
    return [one for one in _unmet(environment) if one.check is not None and one.requirement.name in used]


def clause(who: str, requirement: Requirement, environment: Environment) -> str:
    """A requirement of a package, for people: ``llamafactory 0.9.2 requires transformers<=4.49.0``."""
    return f"{who} {environment.version(who)} requires {requirement.name}{requirement.specifier}"


def broken(before: Environment, after: Environment) -> list[str]:
    """Requirements that a change leaves unmet, but for those of releases that stay and were unmet already.

    Args:
        before: The target as it is, with all that each package requires.
        after: The same with the change.
    """
    return [one.clause(after) for one in newly_unmet(before, after)]


def newly_unmet(before: Environment, after: Environment) -> list[Unmet]:
    """The same as data."""
    known = {(one.who, before.version(one.who), one.requirement.name) for one in _unmet(before)}
    return [one for one in _unmet(after) if (one.who, after.version(one.who), one.requirement.name) not in known]


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


def _unmet(environment: Environment) -> Iterator[Unmet]:
    for package in environment.packages:
        checked = dict(_failing_checks(package, environment))
        for requirement in parse(package.requires):
            if installed := _instead_of(requirement, environment):
                _, check = checked.pop(canonicalize_name(requirement.name), (None, None))
                yield Unmet(package.name, requirement, installed, check)
        for name, (requirement, check) in checked.items():
            yield Unmet(package.name, requirement, environment.version(name), check)


def _failing_checks(package: Package, environment: Environment) -> Iterator[tuple[str, tuple[Requirement, StartCheck]]]:
    """The checks of a package's command that the installed releases do not pass, by what is checked."""
    for check in package.start_checks:
        requirement = _parsed(check.requirement)
        if requirement and _instead_of(requirement, environment):
            yield canonicalize_name(requirement.name), (requirement, check)


def _instead_of(requirement: Requirement, environment: Environment) -> str:
    """The installed release that does not meet a requirement; empty if it does, or there is none."""
    installed = environment.version(canonicalize_name(requirement.name))
    return installed if installed and not allows(requirement, installed, environment) else ""


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
