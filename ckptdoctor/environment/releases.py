"""A release of a package, and the archives that it can be installed from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from packaging.version import Version

from ckptdoctor.environment.repositories import Commit
from ckptdoctor.model.sources import Source


@dataclass(frozen=True)
class File:
    """An archive that a release can be installed from."""

    name: str
    url: str
    """Of the network, or ``file:``."""
    is_wheel: bool
    sha256: str = ""
    """As the index says, or empty."""
    size: int | None = None
    yanked: bool = False
    requires_python: str = ""
    uploaded: str = ""
    """The day, as the index says: YYYY-MM-DD, or empty."""

    @property
    def path(self) -> Path | None:
        """Where it lies, if it is on this machine."""
        return local_path(self.url)

    def digest(self) -> str:
        """Its SHA-256, read from the file itself where that is at hand and the index says nothing, or empty."""
        path = self.path
        if self.sha256 or path is None:
            return self.sha256
        try:
            with path.open("rb") as handle:
                return hashlib.sha256(handle.read()).hexdigest()
        except OSError:
            return ""


@dataclass(frozen=True)
class Release:
    """A version of a package, with the wheels and source archives of all indexes."""

    name: str
    """Normalised."""
    version: str
    files: tuple[File, ...] = ()
    yanked: bool = False
    requires_python: str = ""
    source: Source | None = None
    """Where it is from, if not from an index."""
    commit: Commit | None = None
    """The commit that it is, one of many, of which only those that are run are copied."""

    @property
    def date(self) -> str:
        """The day of its first archive, as the index says: YYYY-MM-DD, or empty."""
        return min((file.uploaded for file in self.files if file.uploaded), default="")

    @property
    def parsed(self) -> Version:
        """The version, to compare by."""
        return Version(self.version)


def local_path(place: str) -> Path | None:
    """The path that a place names, or None where it is of the network."""
    if place.startswith("file:"):
        return Path(url2pathname(urlsplit(place).path))
    return None if "://" in place else Path(place)
