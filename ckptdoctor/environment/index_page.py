"""What a page of a package index lists: as JSON (PEP 691), which most indexes answer with, or as HTML."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urljoin

import msgspec
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import InvalidVersion

from ckptdoctor.environment.releases import File

if TYPE_CHECKING:
    from pypi_simple import DistributionPackage

ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html, text/html;q=0.01"
"""What to ask an index for."""

Listed = tuple[str, File]
"""A version and an archive of it."""


class _ListedFile(msgspec.Struct, rename="kebab"):
    """An entry of ``files``."""

    filename: str
    url: str
    hashes: dict[str, str] = {}
    requires_python: str | None = None
    size: int | None = None
    yanked: bool | str = False
    upload_time: str | None = None


class _Meta(msgspec.Struct, rename="kebab"):
    api_version: str


class _Project(msgspec.Struct):
    """The answer for one package."""

    meta: _Meta
    files: list[_ListedFile]


def of_json(name: str, body: bytes, url: str) -> list[Listed]:
    """The wheels and source archives of a package.

    Args:
        name: The package, normalised.
        body: The page.
        url: Where it is from, which its links may be relative to.

    Raises:
        ValueError: It is not such a page.
    """
    page = msgspec.json.decode(body, type=_Project)
    if page.meta.api_version.partition(".")[0] != "1":
        raise ValueError(f"version {page.meta.api_version} of the interface is not known")
    return [(version, _file(one, url)) for one in page.files if (version := _version(name, one.filename))]


def of_html(name: str, body: bytes, url: str, encoding: str | None = None) -> list[Listed]:
    """The wheels and source archives of a package; see ``of_json``."""
    from pypi_simple import ProjectPage

    packages = ProjectPage.from_html(name, body, url, encoding).packages
    return [(version, _linked(one)) for one in packages if (version := _version(name, one.filename))]


def of_folder(name: str, folder: Path) -> list[Listed]:
    """The wheels and source archives of a package that lie in a folder."""
    files = sorted(folder.iterdir())
    return [
        (version, File(file.name, file.absolute().as_uri(), _is_wheel(file.name)))
        for file in files
        if (version := _version(name, file.name))
    ]


def _version(name: str, filename: str) -> str:
    """The version of a package that an archive holds; empty if it is another's, or cannot be installed."""
    try:
        if _is_wheel(filename):
            project, version, *_ = parse_wheel_filename(filename)
        else:
            project, version = parse_sdist_filename(filename)
    except (InvalidWheelFilename, InvalidSdistFilename, InvalidVersion):
        return ""
    return str(version) if project == name else ""


def _is_wheel(filename: str) -> bool:
    return filename.endswith(".whl")


def _file(listed: _ListedFile, base: str) -> File:
    return File(
        name=listed.filename,
        url=urljoin(base, listed.url),
        is_wheel=_is_wheel(listed.filename),
        sha256=listed.hashes.get("sha256", ""),
        size=listed.size,
        yanked=listed.yanked is not False,
        requires_python=listed.requires_python or "",
        uploaded=(listed.upload_time or "")[:10],
    )


def _linked(package: DistributionPackage) -> File:
    return File(
        name=package.filename,
        url=package.url,
        is_wheel=_is_wheel(package.filename),
        sha256=package.digests.get("sha256", ""),
        size=package.size,
        yanked=package.is_yanked,
        requires_python=package.requires_python or "",
        uploaded=package.upload_time.date().isoformat() if package.upload_time else "",
    )
