"""What tells the files of one release from those of any other: digests of the files that decide how checkpointing goes.

For transformers these are the modules at its top, its utilities and integrations, and each family's folder; for a trainer the
folders in which its checkpoint functions are defined. A wheel lists the digest of each file, so nothing else of it is read.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ckptdoctor import catalog
from ckptdoctor.model.compatibility import Map

LIBRARY = "transformers"
COMMON = ""
"""The part of a release that counts whatever the model family."""

Parts = dict[str, str]
"""A digest for each part of a release: ``COMMON``, and for transformers the model families that it has."""

_COMMON_FOLDERS = ("transformers", "transformers/utils", "transformers/integrations")
_FAMILY = re.compile(r"transformers/models/([^/]+)")


def digests(package: str, files: Mapping[str, str], families: Iterable[str]) -> Parts:
    """The digests of a release.

    Args:
        package: Normalised name.
        files: SHA-256 of each file by its path in the folder of packages, as installers record it; others do no harm.
        families: Model families that are told apart.
    """
    parts: dict[str, list[str]] = {}
    for name, digest in files.items():
        part = _part(package, name, families)
        if part is not None:
            parts.setdefault(part, []).append(f"{name} {digest}")
    return {part: _digest(lines) for part, lines in parts.items()}


def installed(package: str, folder: Path, families: Iterable[str]) -> Parts:
    """The same of the files in a folder of packages; empty if they are not there."""
    folders = [*_folders(package), *(f"transformers/models/{one}" for one in families if package == LIBRARY)]
    found = {}
    for inside in folders:
        try:
            with os.scandir(folder / inside) as entries:
                names = [entry.name for entry in entries if entry.name.endswith(".py")]
            found.update({f"{inside}/{name}": of_content((folder / inside / name).read_bytes()) for name in names})
        except OSError:
            continue
    return digests(package, found, families)


def top_modules(package: str) -> set[str]:
    """The folders in a folder of packages that hold a package's code."""
    return {one.partition("/")[0] for one in _folders(package)} or {package.replace("-", "_")}


def release_of(package: str, version: str, folder: Path, found: Map, families: Sequence[str]) -> str:
    """The measured release whose files lie in a folder of packages; empty if it is none.

    Args:
        package: Normalised name.
        version: What it is called there: this release, if several have the same files.
        folder: The folder of packages.
        found: The map with the digests.
        families: Model families that matter.
    """
    releases = found.files.get(package, {})
    ours = installed(package, folder, families) if releases else {}
    for release in (version, *reversed(found.axes.get(package, []))):
        known = {part: digest for part, digest in releases.get(release, {}).items() if part in (COMMON, *families)}
        if ours and ours == known:
            return release
    return ""


def recorded(text: str) -> dict[str, str]:
    """The digests in a wheel's or an installer's RECORD, by path."""
    rows = (row for row in csv.reader(text.splitlines()) if len(row) > 1)
    return {row[0]: row[1].removeprefix("sha256=") for row in rows if row[1].startswith("sha256=")}


def of_content(content: bytes) -> str:
    """SHA-256 as a RECORD has it: base64 without padding."""
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def is_counted(package: str, name: str, families: Iterable[str]) -> bool:
    """Whether a file is one of those that tell a release."""
    return _part(package, name, families) is not None


def _part(package: str, name: str, families: Iterable[str]) -> str | None:
    folder, _, file = name.rpartition("/")
    if not file.endswith(".py"):
        return None
    if folder in _folders(package):
        return COMMON
    family = _FAMILY.fullmatch(folder) if package == LIBRARY else None
    return family[1] if family and family[1] in families else None


def _folders(package: str) -> tuple[str, ...]:
    """The folders of which every module counts."""
    if package == LIBRARY:
        return _COMMON_FOLDERS
    modules = [
        dotted.replace(".", "/")
        for function, one in catalog.functions().items()
        if catalog.package_of(function) == package
        for dotted in one.modules
    ]
    return tuple(dict.fromkeys(one for path in modules for one in (path.rpartition("/")[0], path) if one))


def _digest(lines: Iterable[str]) -> str:
    """Half of what identifies a file is enough for some thousands of them."""
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()[:16]
