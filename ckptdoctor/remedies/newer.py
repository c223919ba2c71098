"""Releases on the index that are newer than the measured ones."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from ckptdoctor.environment import pip_settings
from ckptdoctor.errors import DoctorError
from ckptdoctor.remedies.candidates import Newer


@contextmanager
def on_the_index(python: str) -> Iterator[Newer]:
    """Newer releases on the index than the measured ones; none when offline.

    Args:
        python: The version of the target's Python: only releases for it count.
    """
    from ckptdoctor.environment.index import Index

    with Index(pip_settings.read(None, os.environ)) as index:

        def newer(package: str, after: str) -> list[str]:
            try:
                releases = index.releases(package)
            except DoctorError:
                return []
            fitting = [
                one
                for one in releases
                if not one.yanked and not one.parsed.is_prerelease and _fits(one.requires_python, python)
            ]
            return [one.version for one in reversed(fitting) if one.parsed > Version(after)]

        yield newer


def _fits(requires_python: str, python: str) -> bool:
    try:
        return SpecifierSet(requires_python or "").contains(python, prereleases=True)
    except (InvalidVersion, ValueError):
        return True
