"""Which bases a run is measuring, for other runs on the same store to see, so that no two runs measure the same base."""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import suppress
from pathlib import Path

SUFFIX = ".lock"
"""Added to the store's name: SQLite locks the store itself in its own way."""

_HELD = (errno.EACCES, errno.EAGAIN)
"""What the system says where another process holds the lock; by all else it says that there are no locks here."""


class Claims:
    """Locks on bases, one byte of one file for each.

    They are locks of the process, which the system lets go of however the process ends and which no child of it inherits;
    a process may have one object of this class for a store at a time.
    """

    def __init__(self, store: Path) -> None:
        """Open the file beside the store. Where there can be none, every claim succeeds.

        Args:
            store: The file of results.
        """
        self._handle = -1
        with suppress(OSError):
            path = store.with_name(store.name + SUFFIX)
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)

    def take(self, base: str) -> bool:
        """Claim a base, at once or not at all.

        Args:
            base: Its key in the store.

        Returns:
            Whether no other process is measuring it, as far as this file system can tell.
        """
        try:
            self._lock(fcntl.LOCK_EX | fcntl.LOCK_NB, base)
        except OSError as error:
            return error.errno not in _HELD
        return True

    def release(self, base: str) -> None:
        """Let others measure a base, if it was claimed."""
        with suppress(OSError):
            self._lock(fcntl.LOCK_UN, base)

    def close(self) -> None:
        """Let others measure all that was claimed."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def _lock(self, how: int, base: str) -> None:
        if self._handle >= 0:
            fcntl.lockf(self._handle, how, 1, int(base[:15], 16))
