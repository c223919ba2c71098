"""How a script ended, and whether that is the fault it is to reproduce."""

from __future__ import annotations

import re
import signal
from contextlib import suppress
from dataclasses import dataclass

from ckptdoctor.bugreport import repro
from ckptdoctor.words.escape import one_line

_RAISED = re.compile(r"^([A-Za-z_][\w.]*)(?::\s|$)")

_FRAME = re.compile(r'^\s+File "(.+)", line (\d+)(?:, in .*)?$')


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
        status: Its exit status, negative for a signal; ``None`` when it had to be stopped.
        output: The end of all that it printed.
    """

    status: int | None
    output: str

    @property
    def words(self) -> str:
        """In one line."""
        if self.status is None:
            return "it did not come to an end in time"
        if self.status < 0:
            with suppress(ValueError):
                return f"killed by {signal.Signals(-self.status).name}"
        return f"the process ended with exit status {self.status}"


def judge(expected: repro.Expected, ended: Ended) -> tuple[bool, str]:
    """Whether a script ended as it should, and how it ended in one line.

    The same fault is the same error at the same line; of a fault that raises nothing, the same assertion; of one that
    ends its process, the same end during the step.
    """
    raised, frames = last_error(ended.output)
    if expected.death:
        begun = "the step begins" in ended.output and "no fault" not in ended.output
        if expected.death == repro.HANGS:
            hung = begun and (ended.status is None or "Timeout (" in ended.output)
            return hung, "the step hangs" if hung else otherwise(ended, raised)
        same = begun and not raised and ended.words in expected.death
        return same, ended.words if same else otherwise(ended, raised)
    # Python adds hints ("Did you mean") behind a message.
    if not raised.startswith(expected.error):
        return False, otherwise(ended, raised)
    if not expected.file:
        return True, one_line(raised, 200)
    here = any(f"/{file}".endswith(f"/{expected.file}") and line == expected.line for file, line in frames)
    at = f"{expected.file}:{expected.line}"
    return here, f"{one_line(raised, 200)}, {'at' if here else 'but not at'} {at}"


def otherwise(ended: Ended, raised: str) -> str:
    """How a process ended, in one line: its last error, or the last line that it printed."""
    last = raised or next((line for line in reversed(ended.output.splitlines()) if line.strip()), "")
    return f"{ended.words}{': ' if last else ''}{one_line(last, 200)}"


def last_error(output: str) -> tuple[str, list[tuple[str, int]]]:
    """The last exception that was printed, its first line, and the frames of its traceback."""
    raised, inside = "", False
    frames: list[tuple[str, int]] = []
    # torch.distributed puts the rank before each line of a traceback.
    for line in re.sub(r"(?m)^\[rank\d+\]:[ ]?", "", output).splitlines():
        if line.startswith("Traceback (most recent call last):"):
            inside, raised, frames = True, "", []
        elif inside and (found := _FRAME.match(line)):
            frames.append((found[1].replace("\\", "/"), int(found[2])))
        elif inside and _RAISED.match(line):
            inside, raised = False, line.strip()
    return raised, frames
