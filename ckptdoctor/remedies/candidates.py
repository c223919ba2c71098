"""Releases that may help, before anything is tried."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from packaging.version import Version

from ckptdoctor import catalog
from ckptdoctor.knowledge import Worked

Newer = Callable[[str, str], Sequence[str]]
"""Given a package and a release: those on the index that are newer, newest first."""


def nothing_newer(package: str, after: str) -> list[str]:
    """Candidates without asking an index for its releases."""
    return []


@dataclass(frozen=True)
class Candidate:
    """Releases to change to.

    Attributes:
        changes: Release by package; an empty release means any that fits.
        works: Measurements of them with the rest of the stack; empty for a guess, which must be tried.
        anew: Packages whose version stays: the release replaces an edited copy.
    """

    changes: Mapping[str, str]
    works: tuple[Worked, ...] = ()
    anew: frozenset[str] = frozenset()

    @property
    def requirements(self) -> list[str]:
        """For pip; trainers last."""
        names = sorted(self.changes, key=lambda name: (catalog.is_trainer(name), name))
        return [f"{name}=={self.changes[name]}" if self.changes[name] else name for name in names]


def by_step(releases: Iterable[str], installed: str) -> list[str]:
    """The smallest step first: releases above, ascending, then those below, descending."""
    here = Version(installed)
    up = sorted((release for release in releases if Version(release) > here), key=Version)
    down = sorted((release for release in releases if Version(release) < here), key=Version, reverse=True)
    return [*up, *down]
