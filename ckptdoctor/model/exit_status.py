"""The exit statuses of every command."""

from __future__ import annotations

from enum import IntEnum


class ExitStatus(IntEnum):
    """How a command ends; a launch script may rely on it."""

    OK = 0
    """Nothing that counts was found, or the command did what it was told."""
    FOUND = 1
    """Something is broken: findings that count."""
    USAGE = 2
    """The command was called with something it cannot understand, or refuses to do."""
    UNDIAGNOSED = 3
    """Nothing can be said: the target cannot be had or not all of it judged, or ckptdoctor itself failed."""
    NOT_EXECUTABLE = 126
    """`ckptdoctor run`: the command cannot be started, as shells say it."""
    NOT_FOUND = 127
    """`ckptdoctor run`: there is no such command, as shells say it."""
    INTERRUPTED = 130
    """Ctrl-C, or another signal to stop."""
    READER_GONE = 141
    """Whoever read the output has gone, as in `ckptdoctor check | head -1`."""

    @property
    def meaning(self) -> str:
        """What it means after a diagnosis, in a few words: as every list of statuses has it."""
        return _MEANINGS[self]


_MEANINGS = {
    ExitStatus.OK: "nothing found",
    ExitStatus.FOUND: "findings",
    ExitStatus.USAGE: "wrong usage",
    ExitStatus.UNDIAGNOSED: "could not be diagnosed",
    ExitStatus.NOT_EXECUTABLE: "the command cannot be started",
    ExitStatus.NOT_FOUND: "the command is not found",
    ExitStatus.INTERRUPTED: "interrupted",
    ExitStatus.READER_GONE: "the reader of the output has gone",
}
