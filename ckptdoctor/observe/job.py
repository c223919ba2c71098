"""A job as far as its processes have reported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ckptdoctor.model.evidence import Evidence
from ckptdoctor.observe.folder import ProcessReport
from ckptdoctor.planning.plan import Planned
from ckptdoctor.words.wording import listed

Observed = Sequence[tuple[Planned, Evidence]]
"""Each step that was observed, and the errors that ended one, as probes."""

EVERYWHERE = "*"
"""For ``Job.over_on``: on all machines."""


@dataclass(frozen=True)
class Job:
    """A job as far as it was observed.

    Attributes:
        processes: What its processes reported.
        steps: Steps that were to be observed.
        command: What was started, in a few words.
        small: What was made small in it.
        is_whole: Whether all ranks are to have reported; otherwise the report is on those that did.
        over_on: The host on which the command has ended by itself; empty while it goes on, or if we ended it.
        status: The exit status with which it ended.
        stopped: Why it was ended by us: ``finding`` or ``steps``; empty if it was not.
    """

    processes: Sequence[ProcessReport]
    steps: int
    command: str = ""
    small: Sequence[str] = ()
    is_whole: bool = True
    over_on: str = ""
    status: int = 0
    stopped: str = ""

    @property
    def lost(self) -> list[ProcessReport]:
        """Processes that ended before they could tell how: killed, or left without Python's own end."""
        return [one for one in self.processes if not one.ended and self.over_on in (EVERYWHERE, one.host)]


def ranks(numbers: Sequence[int]) -> str:
    """Some ranks, named."""
    named = listed([str(one) for one in numbers], limit=6)
    return f"{'rank' if len(numbers) == 1 else 'ranks'} {named}"
