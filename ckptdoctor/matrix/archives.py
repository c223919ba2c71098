"""Single files out of the archives of releases, without installing or downloading the whole.

Archives are data that nobody vouches for: nothing of them is run or written to disk, and what is read of them is bounded.
"""

from __future__ import annotations

import re
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from gzip import GzipFile
from io import BufferedIOBase, BytesIO
from pathlib import Path
from typing import Any, cast

import requests
from remotezip import RemoteFetcher, RemoteIOError, RemoteZip, RemoteZipError  # type: ignore[import-untyped]

from ckptdoctor.environment import snapshots
from ckptdoctor.environment.releases import File, Release
from ckptdoctor.environment.repositories import Commit

LARGEST_MEMBER = 8 * 2**20
LARGEST_ARCHIVE = 64 * 2**20
"""Bytes of a source archive that are read, packed."""
LARGEST_UNPACKED = 512 * 2**20
"""Bytes that a source archive may unpack to."""
LONGEST = 120.0
"""Seconds that the reading of a source archive may take."""
_DIRECTORY = 600_000
"""Bytes at the end of a wheel that are read at first: the list of members of a large one is in them."""


class UnreadableError(Exception):
    """A release whose files cannot be had."""


class Archive:
    """The members of an archive, under the names that they are installed as.

    Attributes:
        names: All members; ``PKG-INFO`` or ``METADATA`` means the release's metadata.
    """

    def __init__(self, members: Mapping[str, Any], read: Callable[[Any], bytes]) -> None:
        self.names: frozenset[str] = frozenset(members)
        self._members = members
        self._read = read
        self._known: dict[str, bytes] = {}

    def read(self, name: str) -> bytes:
        """The bytes of a member.

        Raises:
            UnreadableError: It is too large or broken, or cannot be reached.
        """
        if name not in self._known:
            with _as_unreadable():
                self._known[name] = self._read(self._members[name])
        return self._known[name]


@contextmanager
def opened(release: Release, session: requests.Session, whole: bool = False) -> Iterator[Archive]:
    """A wheel of the release, any of them, or else its source archive.

    Args:
        release: What to read.
        session: What reads from the network.
        whole: Download a wheel at once, since hundreds of its files will be read.

    Raises:
        UnreadableError: It has no archive that can be read, or two that go by one name.
    """
    file = chosen(release)
    if file is None:
        raise UnreadableError(f"{release.name} {release.version} has no archive that can be read")
    with ExitStack() as stack:
        with _as_unreadable():
            archive = stack.enter_context(_opened(release, file, session, whole))
        yield archive


def _opened(release: Release, file: File, session: requests.Session, whole: bool) -> AbstractContextManager[Archive]:
    if release.commit is not None:
        return _commit(release.commit)
    if release.source is not None and file.path is not None and file.path.is_dir():
        return _folder(file.path)
    return _zip(file, session, whole) if file.name.endswith((".whl", ".zip")) else _tar(file, session)


def chosen(release: Release) -> File | None:
    """The archive to read for a release: a wheel if there is one, preferably one for all platforms."""
    if release.source:
        return release.files[0]
    wheels = [file for file in release.files if file.is_wheel]
    pure = [file for file in wheels if file.name.endswith("-none-any.whl")]
    sources = [file for file in release.files if not file.is_wheel and file.name.endswith((".tar.gz", ".tgz", ".zip"))]
    candidates = pure or wheels or sources
    if not candidates or sum(file.name == candidates[0].name for file in candidates) > 1:
        # Two places offer other bytes under one name, and which of them would be installed is not known.
        return None
    return candidates[0]


@contextmanager
def _as_unreadable() -> Iterator[None]:
    try:
        yield
    except (
        OSError,  # of the network, too
        EOFError,
        KeyError,
        ValueError,
        NotImplementedError,
        RuntimeError,  # a member that is encrypted
        RemoteZipError,
        tarfile.TarError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise UnreadableError(str(error)) from error


# --- wheels, and source archives that are zip files ---


@contextmanager
def _zip(file: File, session: requests.Session, whole: bool) -> Iterator[Archive]:
    opening = _downloaded if whole and file.path is None else _zip_file
    with opening(file, session) as archive:
        infos = archive.infolist()
        if len({info.filename for info in infos}) != len(infos):
            raise UnreadableError(f"{file.name} has two members of one name")
        installed = _as_in_wheel if file.is_wheel else _as_in_source

        def read(info: zipfile.ZipInfo) -> bytes:
            # No more than the size that the directory states is ever unpacked.
            if info.file_size > LARGEST_MEMBER:
                raise UnreadableError(f"{info.filename} is too large")
            return archive.read(info)

        yield Archive({installed(info.filename): info for info in infos if not info.is_dir()}, read)


def _zip_file(file: File, session: requests.Session) -> AbstractContextManager[zipfile.ZipFile]:
    if file.path is not None:
        return zipfile.ZipFile(file.path)
    for suffix_range in (True, False):  # Some servers know ranges, but not from the end.
        try:
            archive = RemoteZip(
                file.url,
                session=session,
                fetcher=_Fetcher,
                initial_buffer_size=_DIRECTORY,
                support_suffix_range=suffix_range,
            )
        except RemoteZipError:
            continue
        return cast("zipfile.ZipFile", archive)
    raise UnreadableError(f"{file.name} cannot be read in parts")


def _downloaded(file: File, session: requests.Session) -> AbstractContextManager[zipfile.ZipFile]:
    with _packed(file, session) as packed:
        return zipfile.ZipFile(BytesIO(packed.read()))


class _Fetcher(RemoteFetcher):  # type: ignore[misc]
    """Fetches ranges of a file, none of them larger than anything that is looked for."""

    def prepare_request(self, data_range: tuple[int, int | None] | None = None) -> dict[str, Any]:
        first, last = data_range or (0, None)
        if last is not None and last - first > 2 * LARGEST_MEMBER:
            raise RemoteIOError("the range is too large")
        # Compressed on the way, a range would be another one.
        prepared = cast("dict[str, Any]", super().prepare_request(data_range))
        prepared["headers"]["Accept-Encoding"] = "identity"
        return prepared


# --- source archives ---


@contextmanager
def _tar(file: File, session: requests.Session) -> Iterator[Archive]:
    with _packed(file, session) as packed:
        unpacked = _Bounded(GzipFile(fileobj=packed), LARGEST_UNPACKED)
        members = dict(_modules(unpacked))
    yield Archive(members, _content)


@contextmanager
def _packed(file: File, session: requests.Session) -> Iterator[_Bounded]:
    if file.path is not None:
        with file.path.open("rb") as handle:
            yield _Bounded(handle, LARGEST_ARCHIVE)
        return
    with session.get(file.url, stream=True, headers={"Accept-Encoding": "identity"}) as response:
        response.raise_for_status()
        yield _Bounded(response.raw, LARGEST_ARCHIVE)


def _modules(unpacked: _Bounded) -> Iterator[tuple[str, bytes | None]]:
    """Python files and the metadata; None for what is too large. A later member takes the place of an earlier one."""
    with tarfile.open(fileobj=unpacked, mode="r|") as archive:
        for member in archive:
            name = _as_in_source(member.name)
            if not member.isfile() or not (name.endswith(".py") or name == "PKG-INFO"):
                continue
            handle = archive.extractfile(member) if member.size <= LARGEST_MEMBER else None
            yield name, handle.read() if handle else None


def _content(content: bytes | None) -> bytes:
    if content is None:
        raise UnreadableError("the member is too large")
    return content


class _Bounded(BufferedIOBase):
    """A stream that ends in an error once more is read of it than it may hold, or it takes too long."""

    def __init__(self, stream: Any, most: int) -> None:
        self._stream = stream
        self._left = most
        self._deadline = time.monotonic() + LONGEST

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        wanted = self._left + 1 if size is None or size < 0 else size
        data: bytes = self._stream.read(min(wanted, self._left + 1))
        self._left -= len(data)
        if self._left < 0 or time.monotonic() > self._deadline:
            raise UnreadableError("the archive is too large or comes too slowly")
        return data


# --- folders and commits ---


@contextmanager
def _folder(folder: Path) -> Iterator[Archive]:
    """A project's folder, such as the copy of a source."""
    yield Archive({name.removeprefix("src/"): folder / name for name in snapshots.files(folder)}, Path.read_bytes)


@contextmanager
def _commit(commit: Commit) -> Iterator[Archive]:
    with commit.opened() as (files, read):
        yield Archive({name.removeprefix("src/"): content for name, content in files.items()}, read)


# --- names ---


def _as_in_wheel(name: str) -> str:
    """Without the folder of a wheel that is laid out by where files go."""
    name = re.sub(r"^[^/]+\.data/(?:purelib|platlib)/", "", name)
    return "METADATA" if re.fullmatch(r"[^/]+\.dist-info/METADATA", name) else name


def _as_in_source(name: str) -> str:
    """Without the folder ``name-version/`` and a ``src/`` in it."""
    inner = name.removeprefix("./").partition("/")[2]
    return inner.removeprefix("src/")
