"""What a line of a log is, and how much of a log is looked at."""

from __future__ import annotations

from typing import NamedTuple

LONGEST = 4000
"""Characters of a line that are looked at; no frame and no error line is as long."""

MOST = 100_000
"""Lines that are looked at."""

OURS_LEFT_OUT = "left out ...]"
"""How a line ends that stands for what was not looked at."""

HEADER = "Traceback (most recent call last)"


class Raw(NamedTuple):
    """A line as it came, but for its notation."""

    number: int
    label: str
    text: str


class Line(NamedTuple):
    """A line of a log."""

    number: int
    """From 1, in the text as it came."""
    label: str
    """Which process wrote it, as far as the line says so: ``rank3``, ``node01 rank3``."""
    text: str
    """Without what was put around it; what it is indented by is kept."""
    is_edge: bool = False
    """An edge of a box, a fence or a divider: what comes next is something else."""
    in_box: bool = False
    is_full: bool = False
    """It reaches the edge of its box, so that more of it may have been cropped."""
