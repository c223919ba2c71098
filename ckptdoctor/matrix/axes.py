"""What is varied: the releases of each package that a requirement names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from ckptdoctor.environment.index import Index
from ckptdoctor.environment.named import named
from ckptdoctor.environment.releases import Release
from ckptdoctor.environment.sources import Sources, is_source
from ckptdoctor.environment.uv_errors import NETWORK
from ckptdoctor.errors import TargetError, UsageFault
from ckptdoctor.words.wording import listed

Every = Literal["patch", "minor", "major"]

PYTHON = "python"
"""The name of the axis that is not on any index."""
PYTHONS = ("3.9", "3.10", "3.11", "3.12", "3.13", "3.14")
"""Minor versions of CPython that may be varied, from the oldest that the probes run on; whether one can be had shows later."""

_PARTS: dict[Every, int] = {"major": 1, "minor": 2, "patch": 3}
_EXAMPLE = "for example --vary 'transformers>=4.46'"


@dataclass(frozen=True)
class Axis:
    """The releases of one package, oldest first."""

    name: str
    """Normalised."""
    releases: tuple[Release, ...]


def parse(
    vary: Sequence[str],
    index: Index,
    every: Every | None = None,
    *,
    pre: bool = False,
    yanked: bool = False,
    sources: Sources | None = None,
) -> tuple[Axis, ...]:
    """The axes that requirements span, in the order in which their names are first met.

    Args:
        vary: Requirements such as ``transformers>=4.46``, or sources such as ``./transformers``; one that names a package
            again adds to its axis.
        index: Where releases are looked up.
        every: Keep only the last release of each patch, minor or major version; pinned ones stay.
        pre: Take pre-releases even where the requirement names none.
        yanked: Take yanked releases even where the requirement does not pin them.
        sources: Where sources are taken; none where there can be none.

    Raises:
        UsageFault: A requirement cannot be understood, or nothing matches it.
        TargetError: The indexes cannot be read, or a source cannot be had.
    """
    chosen: dict[str, dict[str, Release]] = {}
    for text in vary:
        if sources is not None and is_source(text):
            _refuse_more(Requirement(named(text)), text, url=False)
            for release in sources.releases(text):
                chosen.setdefault(release.name, {})[release.version] = release
            continue
        requirement = _requirement(text)
        name = canonicalize_name(requirement.name)
        releases = _all(name, index)
        found = _matching(releases, requirement.specifier, pre, yanked)
        if not found:
            if unread := index.unread.get(name):
                wanted = f"{name}{requirement.specifier}"
                raise TargetError(f"{unread} The other indexes have no {wanted}.", NETWORK)
            raise _nothing(name, requirement.specifier, releases)
        if every and not is_pinned(requirement.specifier):
            found = thin(found, every)
        chosen.setdefault(name, {}).update((release.version, release) for release in found)
    return tuple(Axis(name, tuple(_in_order(releases.values()))) for name, releases in chosen.items())


def _in_order(releases: Iterable[Release]) -> list[Release]:
    """Oldest first; a history is in its order already, whatever versions its commits say that they are."""
    found = list(releases)
    return found if all(release.commit for release in found) else sorted(found, key=_place)


def _place(release: Release) -> tuple[Version, bool]:
    """Oldest first; of one version, the release and then sources in the order in which they are named."""
    return (Version(release.parsed.public), True) if release.source else (release.parsed, False)


def thin(releases: Iterable[Release], every: Every) -> list[Release]:
    """The last release of each patch, minor or major version.

    Args:
        releases: Releases, oldest first.
        every: ``patch`` leaves one of a release and its pre-, post- and development releases.
    """
    return [list(group)[-1] for _, group in groupby(releases, key=lambda release: _leading(release, _PARTS[every]))]


def is_pinned(specifier: SpecifierSet) -> bool:
    """Whether a requirement names one exact release."""
    return any(one.operator in {"==", "==="} and not one.version.endswith(".*") for one in specifier)


def _requirement(text: str) -> Requirement:
    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        raise UsageFault(f"'{text}' is no requirement.", f"Give a name and a range, {_EXAMPLE}.") from None
    _refuse_more(requirement, text)
    return requirement


def _refuse_more(requirement: Requirement, text: str, url: bool = True) -> None:
    refused = {"extras": requirement.extras, "a URL": url and requirement.url, "a marker": requirement.marker}
    for what, value in refused.items():
        if value:
            message = f"'{text}' has {what}, and what is varied is the release alone."
            raise UsageFault(message, f"Give a name and a range, {_EXAMPLE}.")


def _all(name: str, index: Index) -> list[Release]:
    if name == PYTHON:
        return [Release(PYTHON, version) for version in PYTHONS]
    return index.releases(name)


def _matching(releases: list[Release], specifier: SpecifierSet, pre: bool, yanked: bool) -> list[Release]:
    pre = pre or bool(specifier.prereleases)
    yanked = yanked or is_pinned(specifier)
    found = [
        release
        for release in releases
        if specifier.contains(release.parsed, prereleases=pre) and (yanked or not release.yanked)
    ]
    # ==2.13.0 matches builds such as 2.13.0 and 2.13.0+cpu; pip takes the last.
    return [list(group)[-1] for _, group in groupby(found, key=lambda release: release.parsed.public)]


def _leading(release: Release, parts: int) -> tuple[int, ...]:
    version = release.parsed
    return (version.epoch, *(*version.release, 0, 0)[:parts])


def _nothing(name: str, specifier: SpecifierSet, releases: list[Release]) -> UsageFault:
    message = f"No release of {name} matches {specifier}." if specifier else f"{name} has no release but special ones."
    return UsageFault(message, f"The nearest that there are: {listed(_nearest(specifier, releases))}.")


def _nearest(specifier: SpecifierSet, releases: list[Release]) -> list[str]:
    """What would match, were it not special; else two releases on either side of what was asked for."""
    special = [release for release in releases if specifier.contains(release.parsed, prereleases=True)]
    if special:
        return [_described(release) for release in special]
    asked = [Version(one.version.removesuffix(".*")) for one in specifier if one.operator != "==="]
    here = min(asked, default=releases[-1].parsed)
    below = [release for release in releases if release.parsed <= here][-2:]
    above = [release for release in releases if release.parsed > here][:2]
    return [_described(release) for release in (*below, *above)]


def _described(release: Release) -> str:
    if release.yanked:
        return f"{release.version} (yanked)"
    return f"{release.version} (a pre-release)" if release.parsed.is_prerelease else release.version
