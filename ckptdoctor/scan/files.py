"""The files of a scan: found in folders and packages, read, and parsed if they name anything of checkpointing."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ckptdoctor.model.scan import NotScanned
from ckptdoctor.scan.module import Module, UnparsedError
from ckptdoctor.scan.telling import Test

SKIPPED = frozenset({"__pycache__", "node_modules", "site-packages", "dist-packages"})
"""Folders in a code base that hold other people's code, or none. A folder that is named itself is searched anyway."""
LARGEST = 16 * 2**20
"""Bytes of a file that is read; a larger one is data."""


@dataclass
class Files:
    """What was read.

    Attributes:
        modules: Files that name anything of checkpointing, each with the rules that may find something in it.
        read: How many Python files there were.
        not_scanned: Files and folders that could not be read.
        notebooks: How many notebooks were left out.
    """

    modules: list[tuple[Module, tuple[str, ...]]] = field(default_factory=list)
    read: int = 0
    not_scanned: list[NotScanned] = field(default_factory=list)
    notebooks: int = 0


def read(
    places: Iterable[Path], telling: Mapping[str, Test], progress: Callable[[str], None] = lambda _: None
) -> Files:
    """Read all Python files below some places, each once.

    Args:
        places: Files and folders.
        telling: Which files to parse, for each rule.
        progress: Told how many files were read.
    """
    files, met = Files(), set()
    for place in places:
        for file in _below(place, files):
            key = _identity(file)
            if key in met:
                continue
            met.add(key)
            _take(file, place, telling, files)
            if files.read % 500 == 0:
                progress(f"reading, {files.read} files")
    return files


def _identity(file: Path) -> object:
    try:
        found = file.stat()
        return (found.st_dev, found.st_ino)
    except OSError:
        return file


def _below(place: Path, files: Files) -> Iterator[Path]:
    """Python files in a folder, in the order of their names; links to folders are not followed, so there are no loops."""
    if not place.is_dir():
        yield place
        return

    def unreadable(error: OSError) -> None:
        files.not_scanned.append(NotScanned(str(error.filename), f"{error.strerror}"))

    for folder, folders, names in os.walk(place, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not _is_skipped(Path(folder, name)))
        for name in sorted(names):
            if name.endswith(".py"):
                yield Path(folder, name)
            files.notebooks += name.endswith(".ipynb")


def _is_skipped(folder: Path) -> bool:
    return folder.name in SKIPPED or folder.name.startswith(".") or (folder / "pyvenv.cfg").exists()


def _take(file: Path, place: Path, telling: Mapping[str, Test], files: Files) -> None:
    try:
        source = _content(file)
    except OSError as error:
        files.read += 1
        files.not_scanned.append(NotScanned(str(file), error.strerror or str(error)))
        return
    if source is None:
        return
    files.read += 1
    wanted = tuple(rule for rule, test in telling.items() if test(source))
    if not wanted:
        return
    try:
        files.modules.append((Module(file, name_of(file), source), wanted))
    except UnparsedError as error:
        files.not_scanned.append(NotScanned(str(file), f"not parsed: {error}"))


def _content(file: Path) -> bytes | None:
    """A regular file's bytes; none of what is no file, such as a pipe that would wait for a writer."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as stream:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            return None
        if found.st_size > LARGEST:
            raise OSError(0, f"larger than {LARGEST // 2**20} MB")
        return stream.read()


def root_of(file: Path) -> Path:
    """The folder from which a file is imported: above the outermost folder around it that is a package."""
    folder = file.parent
    while (folder / "__init__.py").exists() and folder.parent != folder:
        folder = folder.parent
    return folder


def name_of(file: Path) -> str:
    """The dotted name under which a file is imported."""
    parts = file.relative_to(root_of(file)).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)
