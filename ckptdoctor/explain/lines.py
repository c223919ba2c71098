"""Lines of a log, and how much of a log is read."""

from __future__ import annotations

from typing import NamedTuple

LONGEST = 4000
"""Characters of a line that are read; no frame and no error line is longer."""

MOST = 100_000
"""Lines that are read."""

OURS_LEFT_OUT = "left out ...]"
"""The end of a line that replaces the part that was not read."""

HEADER = "Traceback (most recent call last)"


class Raw(NamedTuple):
    """A line as written, with its notation decoded."""

    number: int
    label: str
    text: str


class Line(NamedTuple):
    """A line of a log."""

    number: int
    """From 1, in the original text."""
    label: str
    """The process that wrote the line, if the line names it: ``rank3``, ``node01 rank3``."""
    text: str
    """The line without its prefix and frame; the indentation is kept."""
    is_edge: bool = False
    """An edge of a box, a fence or a divider: the next line starts something else."""
    in_box: bool = False
    is_full: bool = False
    """The line reaches the edge of its box, so its end may be cropped."""
