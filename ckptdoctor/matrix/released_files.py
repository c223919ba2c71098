"""The digests of the files that releases ship, read from their archives on the index."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec
from requests import Session

from ckptdoctor.environment.connections import AT_ONCE
from ckptdoctor.environment.index import Index
from ckptdoctor.environment.releases import Release
from ckptdoctor.knowledge import files
from ckptdoctor.knowledge.files import Parts
from ckptdoctor.matrix import archives
from ckptdoctor.matrix.archives import Archive, UnreadableError
from ckptdoctor.model.compatibility import Map


def complete(found: Map, index: Index) -> Map:
    """A map with the digests of those of its releases that have none yet and can be read."""
    made = {}
    for name, releases in found.axes.items():
        known = found.files.get(name, {})
        lacking = [one for one in index.releases(name) if one.version in releases and one.version not in known]
        made[name] = {**known, **read(name, lacking, found.models(), index.session)}
    return msgspec.structs.replace(found, files=made)


def read(package: str, releases: Sequence[Release], families: Collection[str], session: Session) -> dict[str, Parts]:
    """The digests of each release by its version, without those that cannot be read.

    Args:
        package: Normalised name.
        releases: Releases of that package.
        families: Model families that are told apart.
        session: What reads from the network; an ``Index`` has one.
    """

    def one(release: Release) -> Parts:
        try:
            with archives.opened(release, session) as archive:
                return files.digests(package, _listed(package, archive, families), families)
        except (UnreadableError, UnicodeDecodeError):
            return {}

    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = pool.map(one, releases)
        return {release.version: parts for release, parts in zip(releases, found, strict=True) if parts}


def _listed(package: str, archive: Archive, families: Collection[str]) -> dict[str, str]:
    """The digest of each file: a wheel has them in a list, the files of a source archive are read."""
    lists = [name for name in archive.names if name.endswith(".dist-info/RECORD")]
    if len(lists) == 1:
        return files.recorded(archive.read(lists[0]).decode())
    wanted = [name for name in archive.names if files.is_counted(package, name, families)]
    return {name: files.of_content(archive.read(name)) for name in wanted}
