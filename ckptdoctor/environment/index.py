"""Which releases of a package there are, on the indexes that pip is set up for."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from urllib.parse import urlsplit

import requests
from packaging.utils import canonicalize_name
from packaging.version import Version

from ckptdoctor.environment import index_page
from ckptdoctor.environment.connections import connect, read_within, time_limit
from ckptdoctor.environment.index_page import Listed
from ckptdoctor.environment.pip_settings import PipSettings
from ckptdoctor.environment.releases import File, Release, local_path
from ckptdoctor.environment.uv_errors import NETWORK, clean
from ckptdoctor.errors import TargetError, UsageFault

PYPI = "https://pypi.org/simple/"
_TRIES = 2


class Index:
    """The indexes and folders that pip would look at; a context manager that closes its connections.

    Attributes:
        session: What reads from the network, with pip's certificates, proxy and time limit.
        notes: One sentence for each index that did not answer while another did.
        unread: By package, the first index that did not answer when it was looked up, as a sentence.
    """

    def __init__(self, settings: PipSettings) -> None:
        self.session = connect(settings)
        self.notes: list[str] = []
        self.unread: dict[str, str] = {}
        self._settings = settings
        self._timeout = time_limit(settings)
        self._known: dict[str, list[Release]] = {}

    def __enter__(self) -> Index:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.session.close()

    def releases(self, name: str) -> list[Release]:
        """All releases of a package that have a wheel or a source archive, oldest first.

        Args:
            name: Name of the package, in any spelling.

        Raises:
            UsageFault: No index has the package.
            TargetError: No index that has it could be read.
        """
        name = canonicalize_name(name)
        if name not in self._known:
            self._known[name] = self._look_up(name)
        return self._known[name]

    def _look_up(self, name: str) -> list[Release]:
        files: list[Listed] = []
        failures: list[str] = []
        for place in self._places(name):
            try:
                files += self._page(name, place)
            except _UnreadableError as failure:
                failures.append(str(failure))
        releases = _releases(name, files)
        if failures:
            self.unread[name] = failures[0]
        if releases:
            self.notes += [f"{failure} Releases that only it has are left out." for failure in failures]
        elif failures:
            raise TargetError(failures[0], NETWORK)
        else:
            message = f"No package index in use has {name}."
            raise UsageFault(message, "Check its spelling and the indexes that pip is set up for: `pip config list`.")
        return releases

    def _places(self, name: str) -> Iterator[str]:
        """Pages and folders that may list the package's archives."""
        settings = self._settings
        if not settings.no_index:
            for index in (settings.index_url or PYPI, *settings.extra_index_urls):
                path = local_path(index)
                if path is None:
                    yield f"{index.rstrip('/')}/{name}/"
                else:
                    yield (path / name / "index.html").absolute().as_uri()
        for place in settings.find_links:
            path = local_path(os.path.expanduser(place))  # noqa: PTH111 - it may be a URL
            yield place if path is None else path.absolute().as_uri()

    def _page(self, name: str, place: str) -> list[Listed]:
        path = local_path(place)
        if path is None:
            return self._remote_page(name, place)
        try:
            if path.is_dir():
                return index_page.of_folder(name, path)
            return index_page.of_html(name, path.read_bytes(), place) if path.is_file() else []
        except Exception as error:  # What a page may hold knows no bounds.
            raise _UnreadableError(f"{path} cannot be read as a package index.") from error

    def _remote_page(self, name: str, url: str) -> list[Listed]:
        host = clean(urlsplit(url).netloc.rpartition("@")[2])
        try:
            response, body = self._get(url)
        except requests.RequestException as error:
            raise _UnreadableError(f"{host} cannot be reached.") from error
        if response.status_code in {404, 410}:
            return []
        if not response.ok:
            raise _UnreadableError(
                f"{host} answered {response.status_code} {clean(response.reason or '')}".strip() + "."
            )
        try:
            if response.headers.get("Content-Type", "").partition(";")[0].strip().endswith("+json"):
                return index_page.of_json(name, body, response.url)
            return index_page.of_html(name, body, response.url, response.encoding)
        except Exception as error:  # What a page may hold knows no bounds.
            raise _UnreadableError(f"{host} answered with a page that cannot be read as a package index.") from error

    def _get(self, url: str) -> tuple[requests.Response, bytes]:
        """The answer, with at most two tries where an index fails to give one."""
        for attempt in range(1, _TRIES + 1):
            try:
                with self.session.get(url, headers={"Accept": index_page.ACCEPT}, stream=True) as response:
                    body = read_within(response, time.monotonic() + self._timeout)
            except requests.RequestException:
                if attempt == _TRIES:
                    raise
                continue
            if response.status_code < 500:
                break
        return response, body


class _UnreadableError(Exception):
    """An index that cannot be read; the message is a sentence for people."""


def _releases(name: str, files: Iterable[Listed]) -> list[Release]:
    by_version: dict[str, list[File]] = {}
    for version, file in files:
        known = by_version.setdefault(version, [])
        if not any(_same(file, other) for other in known):
            known.append(file)
    return [
        Release(
            name=name,
            version=version,
            files=tuple(by_version[version]),
            yanked=all(file.yanked for file in by_version[version]),
            requires_python=next((file.requires_python for file in by_version[version] if file.requires_python), ""),
        )
        for version in sorted(by_version, key=Version)
    ]


def _same(file: File, other: File) -> bool:
    """Whether two places offer the same archive; what cannot be told apart is kept twice."""
    return file.name == other.name and (file.url == other.url or file.digest() == other.digest() != "")
