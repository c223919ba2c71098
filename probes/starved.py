"""How long a process waited for processors that others had. A step that only waited does not hang."""

from __future__ import annotations

import contextlib
import glob

EVERY = 5.0
"""Seconds after which a process that is late is mentioned, and again."""


def seconds(pid: int) -> float:
    """The longest that a thread of a process, or of those below it, was ready to run and did not; 0 where Linux does not tell.

    The second field of ``/proc/PID/task/TID/schedstat``: nanoseconds on a run queue
    (https://www.kernel.org/doc/html/latest/scheduler/sched-stats.html).
    """
    longest = 0
    for process in _with_children(pid):
        for file in glob.glob(f"/proc/{process}/task/*/schedstat"):
            with contextlib.suppress(OSError, ValueError, IndexError), open(file) as handle:
                longest = max(longest, int(handle.read().split()[1]))
    return longest / 1e9


def _with_children(pid: int) -> list[int]:
    found, at = [pid], 0
    while at < len(found):
        with contextlib.suppress(OSError, ValueError), open(f"/proc/{found[at]}/task/{found[at]}/children") as handle:
            found += [int(one) for one in handle.read().split()]
        at += 1
    return found


class Limit:
    """A time limit of a process, in seconds that others did not take from it.

    On a machine that is busy with something else, a step takes several times as long; it would be said to hang.
    """

    def __init__(self, limit: float, now: float) -> None:
        self._limit, self._since, self._told = limit, now, now + limit
        self.starved = 0.0
        """Seconds that do not count, as far as they were looked at."""

    def is_over(self, pid: int, now: float) -> bool:
        """Whether the process has had its time. What it waited is read only once it is late."""
        if now - self._since > self._limit + self.starved:
            self.starved = max(self.starved, seconds(pid))  # what a thread waited that has ended is not told any more
        return now - self._since > self._limit + self.starved

    def is_news(self, now: float) -> bool:
        """Whether the process is late and may be, and that was not said in the last seconds."""
        if now - self._told < EVERY:
            return False
        self._told = now
        return True
