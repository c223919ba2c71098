"""The folder of evidence: the settings that processes read, and what they report."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from ckptdoctor import catalog
from ckptdoctor.errors import UsageFault
from ckptdoctor.model.evidence import Environment
from ckptdoctor.store import writing

SETTINGS = "settings.json"
PROCESSES = "process-*.json"
SMALL = "small-*.json"

OLD = 60
"""Seconds after which a report is an earlier job's: no rank has trained a step before all machines have started."""


class ProcessReport(msgspec.Struct, frozen=True):
    """What one process of a job reported."""

    pid: int
    host: str
    executable: str
    rank: int
    world: int
    """Number of ranks."""
    steps: tuple[Mapping[str, Any], ...]
    """Evidence of each step of the optimizer, not yet converted."""
    ended: str = ""
    """``observed`` after all steps that were asked for; ``raised``; ``exited`` before; ``not observed``; ``gave up``; empty
    while it goes on."""
    why: str = ""
    error: Mapping[str, Any] | None = None
    """Evidence of the error that ended it."""
    environment: Environment | None = None


def prepare(folder: Path, steps: int) -> None:
    """Make the folder, and write the settings into it.

    Args:
        folder: May exist, as one that several machines share: what an earlier job reported there must be gone.
        steps: Steps of the optimizer to observe.

    Raises:
        UsageFault: The folder cannot be made or written, or holds another job's reports.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageFault(
            f"{folder} cannot be made: {error.strerror}.", "name another folder with --evidence"
        ) from error
    settings = msgspec.json.encode({"steps": steps, "catalog": catalog.sent()})
    file = folder / SETTINGS
    known = file.read_bytes() if file.exists() else None
    if any(_age(one) > OLD for one in folder.glob(PROCESSES)) or (any(folder.glob(PROCESSES)) and known != settings):
        raise UsageFault(f"{folder} holds the reports of another job.", "name an empty folder with --evidence")
    if known != settings:
        writing.write(str(file), settings)


def _age(file: Path) -> float:
    try:
        return time.time() - file.stat().st_mtime
    except OSError:
        return 0.0


def read(folder: Path) -> list[ProcessReport]:
    """What processes reported so far, by rank; a file that cannot be read is left out, as processes write whole files only."""
    found: list[ProcessReport] = []
    for file in sorted(folder.glob(PROCESSES)):
        try:
            found.append(msgspec.json.decode(file.read_bytes(), type=ProcessReport))
        except (OSError, msgspec.MsgspecError):
            continue
    return sorted(found, key=lambda one: (one.rank, one.host, one.pid))


def read_small(folder: Path) -> list[str]:
    """What processes made small, each said once."""
    said: dict[str, None] = {}
    for file in sorted(folder.glob(SMALL)):
        try:
            said.update(dict.fromkeys(msgspec.json.decode(file.read_bytes(), type=list[str])))
        except (OSError, msgspec.MsgspecError):
            continue
    return list(said)


def size(folder: Path) -> tuple[tuple[str, int], ...]:
    """What changes when a process reports something."""
    try:
        return tuple(sorted((file.name, file.stat().st_mtime_ns) for file in folder.glob(PROCESSES)))
    except OSError:
        return ()
