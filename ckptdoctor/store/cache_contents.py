"""What the cache holds: each entry with its size, its last use, and the lock that a run holds while it uses the entry."""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckptdoctor.store.locations import GONE, KNOWLEDGE, NEW, STORE
from ckptdoctor.store.writing import UNFINISHED

LEFTOVERS = "leftovers"
KINDS = {
    "results": "kept results of checks",
    "durations": "how long runs took, for estimates of the time that is left",
    "overlays": "packages that --with and remedies add to an environment",
    "environments": "made by matrix and bisect for another torch or Python",
    "fingerprints": "what matrix has read of releases on the index",
    "sources": "copies of folders, wheels and commits that were tested",
    "repositories": "what was fetched of git repositories",
    "bytecode": "compiled Python files of environments that have none",
    "extensions": "compiled by torch and DeepSpeed",
    STORE: "measured by matrix and bisect",
    KNOWLEDGE: "measured by known --extend, and what the index said last",
    LEFTOVERS: "of runs that were stopped, or that are under way",
}
"""Every kind of entry, with what it is for."""

_NAME = r"[0-9a-f]{32}"


@dataclass(frozen=True)
class Cache:
    """What the cache holds.

    Attributes:
        folder: Where it is.
        entries: All that comes and goes.
        limit: The bytes that it may hold; ``None`` for any number.
        is_ours: Whether ckptdoctor made the folder: nothing is deleted from another.
    """

    folder: Path
    entries: list[Entry]
    limit: int | None
    is_ours: bool


@dataclass(frozen=True)
class Entry:
    """Something in the cache that comes and goes as a whole."""

    kind: str
    """A key of ``KINDS``."""
    path: Path
    size: int
    """In bytes."""
    used: float
    """When it was last used, in seconds since the epoch."""
    lock: str
    """What a run holds while it uses the entry, see ``workspace.hold``."""
    records: tuple[Path, ...] = ()
    """Files that go with it: which requirements an overlay meets."""


def read(cache: Path) -> list[Entry]:
    """Every entry of the cache; what ckptdoctor did not put there is left out, and links are not followed."""
    readers = (_results, _overlays, _environments, _kinds, _bytecode, _extensions, _store, _knowledge, _leftovers)
    return [entry for reader in readers for entry in reader(cache)]


def is_gone(cache: Path, entry: Entry) -> bool:
    """Whether an entry can never be used again: the environment that it belongs to is not there any more."""
    if entry.kind == "results":
        return _is_result_gone(entry.path)
    if entry.kind == "overlays":
        pythons = [_json(record).get("python") for record in entry.records]
        return entry.path in entry.records or (bool(pythons) and all(map(_is_missing, pythons)))
    if entry.kind == "environments":
        return _is_missing(entry.path / "bin" / "python")
    if entry.kind == "bytecode":
        return _is_missing(Path("/") / entry.path.relative_to(cache / "bytecode"))
    return False


def _is_result_gone(file: Path) -> bool:
    result = _json(file)
    try:
        needed = [result["report"]["environment"]["executable"], *result["folders"]]
    except (KeyError, TypeError):
        return True  # of another release, which this one cannot read
    return any(map(_is_missing, needed))


def _is_missing(path: Any) -> bool:
    """Whether there is certainly nothing at a path out of a file; what may not be looked at may well be there."""
    try:
        if Path(path).is_absolute():
            Path(path).stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, TypeError, ValueError):
        pass
    return False


def _results(cache: Path) -> Iterator[Entry]:
    for file in _children(cache / "results", rf"{_NAME}\.json|{UNFINISHED}"):
        yield _entry("results", file)


def _overlays(cache: Path) -> Iterator[Entry]:
    """Overlays, each with the records of what it meets; and records without an overlay."""
    records = defaultdict(list)
    for file in _children(cache / "requests", rf"{_NAME}\.json|{UNFINISHED}"):
        records[str(_json(file).get("overlay"))].append(file)
    for folder in _children(cache / "overlays", _NAME):
        own = tuple(records.pop(folder.name, ()))
        used = max(map(_changed, (folder, *own)))
        yield Entry("overlays", folder, _size(folder) + sum(map(_size, own)), used, f"overlays/{folder.name}", own)
    for file in (file for files in records.values() for file in files):
        yield Entry("overlays", file, _size(file), _changed(file), str(file.relative_to(cache)), (file,))


def _environments(cache: Path) -> Iterator[Entry]:
    for folder in _children(cache / "environments", _NAME):
        yield _entry("environments", folder, f"environments/{folder.name}")


def _kinds(cache: Path) -> Iterator[Entry]:
    for kind in ("fingerprints", "durations"):
        for file in _children(cache / kind, rf"{_NAME}\.json|{UNFINISHED}"):
            yield _entry(kind, file)
    for copy in _children(cache / "sources", "src[0-9a-f]{16}"):
        yield _entry("sources", copy)
    for folder in _children(cache / "repositories", _NAME):
        yield _entry("repositories", folder)


def _bytecode(cache: Path) -> Iterator[Entry]:
    yield from _compiled(cache / "bytecode", 0.0)


def _compiled(folder: Path, used: float) -> Iterator[Entry]:
    """The topmost folders that hold compiled files; a run marks the folders of ``sys.path`` as used, which may lie above."""
    inside = list(_children(folder))
    used = max(used, _changed(folder))
    if any(one.suffix == ".pyc" for one in inside):
        yield Entry("bytecode", folder, _size(folder), used, "bytecode")
        return
    for one in inside:
        yield from _compiled(one, used)


def _extensions(cache: Path) -> Iterator[Entry]:
    for folder in _children(cache / "extensions"):
        yield _entry("extensions", folder, "extensions")


def _store(cache: Path) -> Iterator[Entry]:
    for file in _children(cache, rf"{re.escape(STORE)}(-\w+)?"):
        yield _entry(STORE, file, STORE)


def _knowledge(cache: Path) -> Iterator[Entry]:
    for file in _children(cache / KNOWLEDGE, rf"[\w-]+\.json(\.gz)?|{UNFINISHED}"):
        yield _entry(KNOWLEDGE, file)


def _leftovers(cache: Path) -> Iterator[Entry]:
    for path in _children(cache, rf"({re.escape(NEW)}|{re.escape(GONE)}).*"):
        yield _entry(LEFTOVERS, path)


def _entry(kind: str, path: Path, lock: str = "") -> Entry:
    return Entry(kind, path, _size(path), _changed(path), lock or f"{kind}/{path.name}")


def _children(folder: Path, names: str = ".*") -> Iterator[Path]:
    """The contents of a folder, by name; without links, and empty if the folder is itself a link."""
    if folder.is_symlink():
        return
    try:
        with os.scandir(folder) as found:
            inside = [one for one in found if re.fullmatch(names, one.name) and not one.is_symlink()]
    except OSError:
        return
    yield from (folder / one.name for one in sorted(inside, key=lambda one: one.name))


def _size(path: Path) -> int:
    """The bytes of a file, or of all files in a folder; what is gone meanwhile has none."""
    size, waiting = 0, [str(path)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as inside:
                for one in inside:
                    if one.is_dir(follow_symlinks=False):
                        waiting.append(one.path)
                    else:
                        size += one.stat(follow_symlinks=False).st_size
        except NotADirectoryError:
            with suppress(OSError):
                size += path.lstat().st_size
        except OSError:
            continue
    return size


def _changed(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except OSError:
        return 0.0


def _json(file: Path) -> dict[str, Any]:
    try:
        told = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}
