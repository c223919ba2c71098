"""Folders for the time of a run, the end of those whose run was killed, and which parts of the cache are in use."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ckptdoctor.store.locations import GONE, LOCK, NEW

PREFIX = "ckptdoctor-"


class Workspace:
    """A temporary folder of one run's own."""

    def __init__(self) -> None:
        """Make it, and remove what earlier runs that were killed have left beside it."""
        _sweep()
        self.folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        self._lock = _locked(self.folder)

    def remove(self) -> None:
        """Remove it with all that is in it, even if Ctrl-C is pressed meanwhile."""
        with uninterrupted():
            shutil.rmtree(self.folder, ignore_errors=True)
            with suppress(OSError):
                os.close(self._lock)


@functools.cache
def _sweep() -> None:
    """Remove folders of ours that no run uses any more, once a process."""
    _sweep_folder(Path(tempfile.gettempdir()), PREFIX)


def _sweep_folder(parent: Path, prefix: str) -> None:
    for folder in parent.glob(f"{prefix}*"):
        with suppress(OSError):
            if folder.lstat().st_uid == os.getuid() and not folder.is_symlink() and _is_left(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _locked(folder: Path) -> int:
    lock = os.open(folder / LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    with suppress(OSError):  # some file systems lock nothing: nothing is swept there either
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return lock


def _is_left(folder: Path) -> bool:
    try:
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_NOFOLLOW)
    except OSError:
        return False  # not made here, or only just
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(lock)
    return True


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold back Ctrl-C and the signals that are treated like it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# -- the cache --------------------------------------------------------------------------------------------------------


@contextmanager
def making_in(cache: Path) -> Iterator[Path]:
    """A temporary folder on the cache's own file system, so that its contents can be renamed into place."""
    folder = Path(tempfile.mkdtemp(prefix=NEW, dir=cache))
    with ExitStack() as after:
        after.callback(shutil.rmtree, folder, ignore_errors=True)
        after.callback(os.close, _locked(folder))
        yield folder


def move(made: Path, folder: Path) -> None:
    """Move a folder that was made to its place in the cache; if another process was faster, its folder holds the same.

    Raises:
        OSError: It cannot be moved.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        made.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise


def sweep(cache: Path) -> None:
    """Remove what runs that were killed have left in the cache, half made or half deleted."""
    _sweep_folder(cache, NEW)
    for gone in cache.glob(f"{GONE}*"):
        delete(gone)


_USE = threading.RLock()
_LOCKS: dict[Path, int] = {}
"""The lock file of each cache. It stays open: closing it would end all locks of this process on it."""
_HELD: set[tuple[Path, str]] = set()


def hold(cache: Path, *names: str) -> None:
    """Keep other processes from removing parts of the cache until this one ends.

    A part is a range in one lock file, since a matrix uses more parts than a process may have files open. Hold a part before
    you look whether it is there.

    Args:
        cache: The cache's folder.
        names: Paths in the cache, such as ``overlays/NAME``; each includes everything below it.
    """
    with _USE:
        for name in names:
            _HELD.add((cache, name))
            with suppress(OSError):  # where nothing can be locked, nothing is removed either
                fcntl.lockf(_lock(cache), fcntl.LOCK_SH, 1, _position(name))


@contextmanager
def unused(cache: Path, name: str) -> Iterator[bool]:
    """Whether no process uses a part of the cache; none can begin to while the context lasts."""
    with _USE:
        try:
            if (cache, name) in _HELD:
                raise BlockingIOError
            fcntl.lockf(_lock(cache), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _position(name))
        except OSError:
            yield False
            return
        try:
            yield True
        finally:
            fcntl.lockf(_lock(cache), fcntl.LOCK_UN, 1, _position(name))


def delete(path: Path) -> None:
    """Delete a file or a folder with all in it, as far as that can be done; links in it are not followed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    with suppress(OSError):
        path.unlink()


def _lock(cache: Path) -> int:
    if cache not in _LOCKS:
        _LOCKS[cache] = os.open(cache / LOCK, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
    return _LOCKS[cache]


def _position(name: str) -> int:
    return int(hashlib.sha256(name.encode()).hexdigest()[:15], 16)
