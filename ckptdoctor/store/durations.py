"""How long runs took, by what was run, and what that says about the next run of the same."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from ckptdoctor.model.encoding import encode_exactly
from ckptdoctor.store import locations, writing

FOLDER = "durations"
MOST = 1000
"""Steps whose times are kept: the pace of so many is the pace of all."""
ENOUGH = 3
"""Steps of the present run after which its own pace counts, and no longer that of the last run."""


class Durations(msgspec.Struct, frozen=True):
    """How long a run took."""

    seconds: float
    """All of it."""
    times: tuple[float, ...]
    """When each step ended, in seconds from the start."""

    def left(self, times: Sequence[float], now: float) -> float | None:
        """Seconds that a run of the same steps still takes, if it goes on as this one did.

        While a step lasts longer than it did, all that came after it is still to come.

        Args:
            times: When steps of the present run ended.
            now: Seconds since its start.

        Returns:
            None where this run has no answer: it had fewer steps, or was over by now.
        """
        at = len(times)
        if at > len(self.times):
            return None
        ends = [0.0, *self.times, self.seconds]
        since = now - (times[-1] if times else 0.0)
        left = self.seconds - min(ends[at] + since, ends[at + 1])
        return left if left > 0 else None

    @property
    def pace(self) -> float:
        """Seconds for one step."""
        return self.times[-1] / len(self.times) if self.times else self.seconds


def left_at_pace(times: Sequence[float], left: int, last: Durations | None) -> float | None:
    """Seconds for more steps at the pace of those that have ended, or else of the last run.

    Args:
        times: When steps ended, in seconds from the start.
        left: How many have not ended.
        last: The last run of the same kind.
    """
    pace = times[-1] / len(times) if len(times) >= ENOUGH else last.pace if last else None
    return pace * left if pace and left > 0 else None


def key(*run: Any) -> str:
    """Names what was run: the command, and what decides how long it takes."""
    return hashlib.sha256(encode_exactly(msgspec.to_builtins(run))).hexdigest()[:32]


def load(name: str) -> Durations | None:
    """How long the last run took that has this key."""
    path = _path(name)
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Durations)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
    locations.mark_used(path)
    return found


def keep(name: str, seconds: float, times: Sequence[float]) -> None:
    """Keep how long a run took; where that fails, the next run has no estimate."""
    kept = Durations(round(seconds, 2), tuple(round(one, 2) for one in times[:MOST]))
    with suppress(OSError):
        writing.keep(_path(name), encode_exactly(kept))


def _path(name: str) -> Path:
    return locations.cache() / FOLDER / f"{name}.json"
