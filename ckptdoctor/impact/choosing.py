"""Which releases are tried with both sides: the newest ones, and the newest ones whose requirements admit base or head."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from packaging.utils import canonicalize_name

from ckptdoctor import catalog, knowledge
from ckptdoctor.environment.index import Index
from ckptdoctor.environment.releases import Release
from ckptdoctor.errors import DoctorError
from ckptdoctor.impact.code import MODELS
from ckptdoctor.matrix.axes import Axis
from ckptdoctor.matrix.fingerprints import Reader
from ckptdoctor.model import pins
from ckptdoctor.model.evidence import Environment
from ckptdoctor.planning.options import FALLBACK_FAMILIES

FARTHEST = 40
"""Releases of a trainer that are looked through, from the newest one back."""

AT_ONCE = 8
"""Releases of which the requirements are read at a time."""

Requires = Callable[[Sequence[Release]], list[Sequence[str] | None]]
"""What each of some releases requires; None where that is not known."""


def trainers(sides: Sequence[Release], target: Environment, index: Index, reader: Reader) -> Iterator[Axis]:
    """Every trainer of the catalog with its releases.

    Args:
        sides: Base and head of a package that trainers require.
        target: What is installed in the target.
        index: Where releases are looked up.
        reader: Reads what releases require.

    Yields:
        Trainers that the index has.
    """
    for name in catalog.with_functions():
        try:
            released = _usable(index.releases(name))
        except DoctorError:
            continue
        if not released:
            continue
        requires = _requirements(name, reader)
        chosen = [released[-1], *(_admitting(side, released, requires, target) for side in sides)]
        wanted = {one.version for one in chosen if one is not None}
        yield Axis(name, tuple(one for one in released if one.version in wanted))


def models(sides: Sequence[Release], target: Environment, index: Index, reader: Reader) -> Axis:
    """Releases of transformers for the two sides of a trainer: the newest, and the newest that each side admits.

    Raises:
        DoctorError: No index has transformers.
    """
    released = _usable(index.releases(MODELS))
    chosen = {released[-1].version}
    for told in _requirements(sides[0].name, reader)(sides):
        fitting = [one for one in released if _admits(told or (), one, target)]
        chosen |= {one.version for one in fitting[-1:]}
    return Axis(MODELS, tuple(one for one in released if one.version in chosen))


def family(release: Release, reader: Reader) -> str:
    """The model family that is tried unasked with a release of transformers."""
    read = reader.fingerprints(MODELS, [release], FALLBACK_FAMILIES)[release.version]
    there = read.digests if read else {}
    return next((one for one in FALLBACK_FAMILIES if one in there), FALLBACK_FAMILIES[0])


def newest(name: str, index: Index) -> Release:
    """The newest release of a package.

    Raises:
        DoctorError: No index has it.
    """
    return _usable(index.releases(name))[-1]


def _usable(releases: Sequence[Release]) -> list[Release]:
    """Those that an installer takes unasked; all where there are no others."""
    usual = [one for one in releases if not one.yanked and not one.parsed.is_prerelease]
    return usual or list(releases)


def _requirements(name: str, reader: Reader) -> Requires:
    """What releases of a trainer require: as shipped, else as the wheel says."""
    known = knowledge.load().requires.get(name, {})

    def requires(releases: Sequence[Release]) -> list[Sequence[str] | None]:
        found = reader.fingerprints(name, [one for one in releases if one.version not in known])
        read = {release: fingerprint.requires for release, fingerprint in found.items() if fingerprint}
        return [known[one.version] if one.version in known else read.get(one.version) for one in releases]

    return requires


def _admitting(side: Release, released: Sequence[Release], requires: Requires, target: Environment) -> Release | None:
    """The newest release that admits a side; those of which nothing is known are passed over."""
    for at in range(len(released), max(len(released) - FARTHEST, 0), -AT_ONCE):
        several = released[max(at - AT_ONCE, 0) : at]
        for release, told in zip(reversed(several), reversed(requires(several)), strict=True):
            if told is not None and _admits(told, side, target):
                return release
    return None


def _admits(requires: Iterable[str], side: Release, target: Environment) -> bool:
    named = [one for one in pins.parse(requires) if canonicalize_name(one.name) == side.name]
    return all(pins.allows(one, side.version, target) for one in named)
