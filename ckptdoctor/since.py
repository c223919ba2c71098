"""Which releases came since the knowledge was measured: the index is asked once a day, and never keeps anybody waiting."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec
from packaging.version import Version

from ckptdoctor import knowledge
from ckptdoctor.environment import pip_settings
from ckptdoctor.errors import DoctorError
from ckptdoctor.model.compatibility import Map
from ckptdoctor.store import locations, writing

OFFLINE = "CKPTDOCTOR_OFFLINE"
"""Set to anything but 0 or nothing, no index is asked by itself."""

PATIENCE = 1.0
"""Seconds to wait for all answers together."""

DAY, HOUR = 24 * 3600.0, 3600.0

FILE = "releases.json"


class _Asked(msgspec.Struct):
    """What the index said last."""

    at: float
    """Seconds since the epoch."""
    releases: dict[str, list[str]] = {}
    """By package, oldest first, without pre-releases and yanked ones; a package that it did not answer about is not there."""


def is_offline(environ: Mapping[str, str]) -> bool:
    """Whether no index may be asked: by our variable, by uv's, or because pip's settings say that there is none."""
    if any(environ.get(name, "0").lower() not in ("", "0", "false") for name in (OFFLINE, "UV_OFFLINE")):
        return True
    try:
        settings = pip_settings.read(None, environ)
    except DoctorError:
        return True
    return settings.no_index and not settings.find_links


def newer(known: Map, packages: Iterable[str]) -> dict[str, tuple[str, ...]] | None:
    """Releases of packages that are newer than all that a map has, oldest first.

    Returns:
        By package, those with any; none if the index did not answer in time about one of them.
    """
    wanted = sorted(set(packages) & known.axes.keys())
    said = _asked()
    if any(name not in said for name in wanted):
        return None
    found = {name: tuple(_after(said[name], known.axes[name][-1])) for name in wanted}
    return {name: releases for name, releases in found.items() if releases}


def sentences(since: Mapping[str, tuple[str, ...]] | None, known: Map) -> tuple[str, ...]:
    """What ``newer`` found, for people."""
    if since is None:
        return ("The index did not answer, so it is not known which releases came since.",)
    if not since:
        return ()
    came = "; ".join(f"{name} {', '.join(releases[-5:])}" for name, releases in since.items())
    date = max(run.date for run in known.runs)
    return (f"Released since the last measurement ({date}): {came}. `ckptdoctor known --extend` measures them here.",)


def _after(releases: Iterable[str], last: str) -> list[str]:
    return [one for one in releases if Version(one) > Version(last)]


def _asked() -> dict[str, list[str]]:
    """Releases by package, out of the cache if the index was asked today, or failed to answer within the hour."""
    packages = {*knowledge.shipped().axes, *knowledge.shipped(knowledge.DEEPSPEED_FILE).axes}
    folder = locations.known_here()
    kept = _kept(folder / FILE) if folder else None
    age = time.time() - kept.at if kept else DAY
    if kept and 0 <= age < DAY and (age < HOUR or kept.releases.keys() >= packages):
        return kept.releases
    said = _ask(packages)
    with suppress(OSError, DoctorError):  # without a cache, it is asked each time
        content = msgspec.json.encode(_Asked(time.time(), said))
        writing.keep(locations.cache() / locations.KNOWLEDGE / FILE, content)
    return said


def _kept(file: Path) -> _Asked | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=_Asked)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _ask(packages: Iterable[str]) -> dict[str, list[str]]:
    """What the index says within the time; threads that still wait then end with the process."""
    from ckptdoctor.environment.index import Index  # slow to import, and needed once a day

    said: dict[str, list[str]] = {}

    def ask_about(package: str) -> None:
        with suppress(Exception), Index(pip_settings.read(None, os.environ)) as index:
            found = index.releases(package)
            said[package] = [one.version for one in found if not one.yanked and not one.parsed.is_prerelease]

    threads = [threading.Thread(target=ask_about, args=(name,), daemon=True) for name in packages]
    deadline = time.monotonic() + PATIENCE
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return dict(said)
