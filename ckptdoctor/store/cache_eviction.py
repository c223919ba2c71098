"""How the cache is kept small: what goes, in which order, and what never does.

An entry is renamed away before it is deleted, so that a run finds it whole or not at all. Entries that a run uses
are locked and stay. The matrix's store stays too unless it is named: no index has the measurements in it.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ckptdoctor.errors import UsageFault
from ckptdoctor.store import cache_contents, locations, workspace
from ckptdoctor.store.cache_contents import LEFTOVERS, Entry
from ckptdoctor.store.locations import CHECKED, GONE, KNOWLEDGE, STORE

DAYS = 30
"""What was not used for longer is dropped by ``prune``."""
CHECKED_EVERY = 3600.0
"""Seconds for which the size is not looked at again: adding up many small files takes seconds."""


@dataclass
class Outcome:
    """What was dropped, or would be."""

    dropped: list[Entry] = field(default_factory=list)
    in_use: list[Entry] = field(default_factory=list)
    """What stays because a run uses it."""


def prune(cache: Path, days: float, limit: int | None, dry_run: bool) -> Outcome:
    """Drop what belongs to environments that are gone, what was not used for some days, and what exceeds the limit.

    Args:
        cache: The cache's folder.
        days: How long an entry may go unused.
        limit: Bytes that may be left; none for no limit.
        dry_run: Only say what would go.

    Raises:
        UsageFault: ckptdoctor did not make this folder.
    """
    require_marked(cache)
    if not dry_run:
        workspace.sweep(cache)
    oldest = time.time() - days * 24 * 3600
    entries = _evictable(cache)
    old = [one for one in entries if one.used < oldest or cache_contents.is_gone(cache, one)]
    outcome = Outcome()
    for entry in old:
        _drop(cache, entry, outcome, dry_run)
    tried = {one.path for one in old}
    in_use = sum(one.size for one in outcome.in_use)
    _shrink(cache, [one for one in entries if one.path not in tried], in_use, limit, outcome, dry_run)
    return outcome


def clear(cache: Path, entries: Iterable[Entry]) -> Outcome:
    """Drop entries of any age.

    Raises:
        UsageFault: ckptdoctor did not make this folder.
    """
    require_marked(cache)
    workspace.sweep(cache)
    outcome = Outcome()
    for entry in entries:
        _drop(cache, entry, outcome, dry_run=False)
    return outcome


def keep_within_limit(cache: Path, progress: Callable[[str], None] = lambda _: None) -> None:
    """Drop what was not used for longest until the cache is within its limit; at most once an hour.

    A run calls this after it has added something. What goes wrong here must not cost the run's result.
    """
    limit = locations.limit()
    with suppress(OSError):
        if locations.is_marked(cache) and (limit == 0 or _is_due(cache)):
            progress("keeping the cache within its limit")
            (cache / CHECKED).touch(mode=0o600)
            workspace.sweep(cache)
            if limit is not None:
                _shrink(cache, _evictable(cache), 0, limit, Outcome(), dry_run=False)


def require_marked(cache: Path) -> None:
    """Refuse to delete anything from a folder that ckptdoctor did not make.

    Raises:
        UsageFault: It is such a folder, or there is none.
    """
    if not cache.is_dir():
        raise UsageFault(f"There is no cache: {cache} cannot be made.", "set CKPTDOCTOR_CACHE to a folder of yours")
    if not locations.is_marked(cache):
        raise UsageFault(
            f"Nothing is deleted from {cache}: ckptdoctor did not make this folder.",
            "set CKPTDOCTOR_CACHE to a folder that is empty or does not exist, and delete the old one yourself",
        )


def _evictable(cache: Path) -> list[Entry]:
    return [one for one in cache_contents.read(cache) if one.kind not in (STORE, KNOWLEDGE, LEFTOVERS)]


def _is_due(cache: Path) -> bool:
    try:
        since = time.time() - (cache / CHECKED).stat().st_mtime
    except FileNotFoundError:
        return True
    return not 0 <= since < CHECKED_EVERY


def _shrink(cache: Path, entries: list[Entry], more: int, limit: int | None, outcome: Outcome, dry_run: bool) -> None:
    """Drop the entries that were not used for longest until what is left, and ``more`` beside it, is within the limit."""
    if limit is None:
        return
    left = more + sum(one.size for one in entries)
    for entry in sorted(entries, key=lambda one: one.used):
        if left <= limit:
            return
        if _drop(cache, entry, outcome, dry_run):
            left -= entry.size


def _drop(cache: Path, entry: Entry, outcome: Outcome, dry_run: bool) -> bool:
    """Drop an entry, unless a run uses it; whether it was dropped, or would be."""
    moved: list[Path] = []
    with workspace.unused(cache, entry.lock) as is_free:
        if is_free and not dry_run:
            moved = _moved_away(cache, entry)
    if not is_free:
        outcome.in_use.append(entry)
        return False
    for path in moved:
        workspace.delete(path)
    if moved and entry.kind == "bytecode":
        _remove_empty(entry.path.parent, cache / "bytecode")
    if dry_run or moved:
        outcome.dropped.append(entry)
        return True
    return False


def _moved_away(cache: Path, entry: Entry) -> list[Path]:
    """Rename an entry with what belongs to it; nothing where another process has dropped it already."""
    moved = []
    for path in dict.fromkeys((*entry.records, entry.path)):
        gone = cache / f"{GONE}{uuid.uuid4().hex}"
        with suppress(OSError):
            path.rename(gone)
            moved.append(gone)
    return moved


def _remove_empty(folder: Path, top: Path) -> None:
    with suppress(OSError):
        while folder != top:
            folder.rmdir()
            folder = folder.parent
