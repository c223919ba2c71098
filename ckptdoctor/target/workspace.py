"""Folders for the time of a run, and the end of those whose run was killed."""

from __future__ import annotations

import fcntl
import functools
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "ckptdoctor-"
LOCK = ".in-use"
"""A file that a run keeps locked: the system lets go of it however the run ends."""


class Workspace:
    """A temporary folder of one run's own."""

    def __init__(self) -> None:
        """Make it, and remove what earlier runs that were killed have left beside it."""
        _sweep()
        self.folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        self._lock = os.open(self.folder / LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        with suppress(OSError):  # some file systems lock nothing: nothing is swept there either
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def remove(self) -> None:
        """Remove it with all that is in it, even if Ctrl-C is pressed meanwhile."""
        with uninterrupted():
            shutil.rmtree(self.folder, ignore_errors=True)
            with suppress(OSError):
                os.close(self._lock)


@functools.cache
def _sweep() -> None:
    """Remove folders of ours that no run uses any more, once a process."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):
            if folder.lstat().st_uid == os.getuid() and not folder.is_symlink() and _is_left(folder):
                shutil.rmtree(folder, ignore_errors=True)


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
