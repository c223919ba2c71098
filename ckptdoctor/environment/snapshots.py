"""Copies of source folders in the cache, named after their content: later edits do not reach what runs."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from ckptdoctor.environment import git, project
from ckptdoctor.errors import TargetError, UsageFault

LARGEST = 10**9
"""Bytes that a source folder may hold."""

_GENERATED = {"build", "dist"}
"""Folders at the top of a project that a build writes into."""
BESIDE = {"tests", "test", "docs", "doc", "examples", "benchmark", "benchmarks", "docker", "notebooks", "assets"}
"""Folders at the top of a project that are not installed: changes in them change no result."""
_TRIES = 3


def files(folder: Path) -> list[str]:
    """The files of a project that decide what is installed, relative to its folder.

    In a git work tree these are all that git does not ignore. Hidden folders, virtual environments, what a build writes, and
    tests and documentation at the top are left out.
    """
    return [name for name in _all(folder) if matters(name)]


def _all(folder: Path) -> list[str]:
    found = _tracked(folder)
    inside = _walked(folder) if found is None else (one for name in found for one in _expanded(folder, name))
    return sorted(dict.fromkeys(inside))


def _needed_to_build(folder: Path) -> list[str]:
    """Files beside the package that its build names, such as a README in ``docs``."""
    read = project.in_folder(folder)
    said = "\n".join(map(read, (*project.FILES, "MANIFEST.in")))
    named = [name for name in BESIDE if re.search(rf"\b{name}\b[/'\"]", said)]
    return [name for name in _all(folder) if name.split("/")[0] in named and _is_written_by_hand(name)] if named else []


def matters(name: str) -> bool:
    """Whether a file decides what is installed, by its path in the project."""
    top, inside, _ = name.partition("/")
    return not (inside and top in _GENERATED | BESIDE) and _is_written_by_hand(name)


def _is_written_by_hand(name: str) -> bool:
    *folders, file = name.split("/")
    if any(one.startswith(".") or one == "__pycache__" or one.endswith(".egg-info") for one in folders):
        return False
    return not file.endswith((".pyc", ".pyo")) and (bool(folders) or not file.startswith("."))


def _tracked(folder: Path) -> list[str] | None:
    """What git knows and does not ignore; None unless the project itself is in a repository."""
    listed = _listed(folder, "--cached")
    if listed is None or not any(name in listed for name in project.FILES):
        return None
    return [*listed, *(_listed(folder, "--others", "--exclude-standard") or ())]


def _listed(folder: Path, *options: str) -> list[str] | None:
    try:
        done = git.run(["-C", str(folder), "ls-files", "-z", *options])
    except TargetError:  # no git
        return None
    return None if done.returncode else [name for name in os.fsdecode(done.stdout).split("\0") if name]


def _expanded(folder: Path, name: str) -> Iterator[str]:
    """A file; or the files of a submodule, or of a folder that a link leads to."""
    path = folder / name
    if path.is_dir():
        yield from (f"{name.rstrip('/')}/{inside}" for inside in _walked(path))
    elif path.is_file():
        yield name


def _walked(folder: Path) -> Iterator[str]:
    for here, folders, names in os.walk(folder):
        folders[:] = [one for one in folders if not Path(here, one, "pyvenv.cfg").exists() and not one.startswith(".")]
        for name in names:
            path = Path(here, name)
            if path.is_file():
                yield path.relative_to(folder).as_posix()


def is_tracked(folder: Path) -> bool:
    """Whether a project's folder is part of a git work tree."""
    return _tracked(folder) is not None


def state(folder: Path) -> tuple[str, bool]:
    """The commit that a project's folder is at, and whether its files are others; empty where git does not know it."""
    if not is_tracked(folder):
        return "", False
    commit = git.run(["-C", str(folder), "rev-parse", "--verify", "--quiet", "HEAD"])
    listed = git.run(["-C", str(folder), "diff", "--name-only", "--relative", "-z", "HEAD", "--", "."])
    changed = [*os.fsdecode(listed.stdout).split("\0"), *(_listed(folder, "--others", "--exclude-standard") or ())]
    return commit.stdout.decode().strip(), any(matters(name) for name in changed if name)


def digest(folder: Path) -> str:
    """The name of a copy of a folder: a digest of the names and contents of its files.

    Raises:
        UsageFault: It holds too much, or cannot be read.
    """
    return _digest(folder, None)


def copy(folder: Path, into: Path) -> str:
    """Copy a folder's files, and return the name of the copy.

    Raises:
        UsageFault: It holds too much, cannot be read, or changes all the time.
        OSError: The copy cannot be written.
    """
    for attempt in range(_TRIES):
        (into / str(attempt)).mkdir(parents=True)
        copied = _digest(folder, into / str(attempt))
        if copied == digest(folder):  # nothing was edited meanwhile: the copy is of one moment
            _write(folder, _needed_to_build(folder), into / str(attempt))
            (into / str(attempt)).rename(into / "code")
            return copied
    raise UsageFault(f"{folder} changes while it is being read.", "wait until nothing writes to it, and try again")


def _digest(folder: Path, into: Path | None) -> str:
    total, whole = 0, hashlib.sha256()
    for name in files(folder):
        try:
            content = (folder / name).read_bytes()
        except OSError as error:
            raise UsageFault(f"{name} in {folder.name} cannot be read: {error.strerror}.", "") from error
        total += len(content)
        if total > LARGEST:
            raise UsageFault(
                f"{folder.name} holds more than {LARGEST // 10**9} GB.", "build a wheel, and name that instead"
            )
        whole.update(os.fsencode(name) + b"\0" + hashlib.sha256(content).digest())
        if into is not None:
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            (into / name).write_bytes(content)
            shutil.copymode(folder / name, into / name)
    return f"src{whole.hexdigest()[:16]}"


def _write(folder: Path, names: list[str], into: Path) -> None:
    for name in names:
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / name, into / name)
