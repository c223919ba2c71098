"""Tells an error of the machine, which is short of something, from an error of the environment."""

from __future__ import annotations

import errno
import re

RAN_OUT = {
    errno.EAGAIN: "no more processes or threads can be started (`ulimit -u`, or the container's pids limit)",
    errno.ENOMEM: "memory ran out (`ulimit -v`, or the container's limit)",
    errno.EMFILE: "too many files are open (`ulimit -n`)",
    errno.ENFILE: "the whole machine has too many files open",
    errno.ENOSPC: "a disk or shared memory (/dev/shm) is full",
    errno.EDQUOT: "the disk quota is used up",
}
"""What has run out, by the number of the operating system's error."""

SMALL = 1 << 30
"""Bytes that a tiny step may ask for at once: for want of fewer it is the machine that is short of memory."""


def ran_out(error: BaseException) -> str:
    """What the machine ran out of, in words, where that is what an exception is about; else empty."""
    message = str(error)
    what = ""
    if isinstance(error, OSError):
        what = RAN_OUT.get(error.errno or 0, "")
    elif isinstance(error, MemoryError):
        what = RAN_OUT[errno.ENOMEM]
    elif isinstance(error, RuntimeError) and "can't start new thread" in message:
        what = RAN_OUT[errno.EAGAIN]
    elif isinstance(error, RuntimeError):
        asked = re.search(r"can't allocate memory: you tried to allocate (\d+) bytes|Cannot allocate memory", message)
        if asked and int(asked.group(1) or 0) < SMALL:
            what = RAN_OUT[errno.ENOMEM]
        elif "unable to write to file </torch_" in message or "No space left on device" in message:
            what = RAN_OUT[errno.ENOSPC]
    return f"{what}: {type(error).__name__}: {message[:300]}" if what else ""
