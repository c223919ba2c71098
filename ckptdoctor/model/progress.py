"""What a run tells while it goes on. It is passed in: nothing but the command line prints."""

from __future__ import annotations


class Progress:
    """Is told how a run goes on. This one says nothing."""

    def __call__(self, text: str) -> None:
        """What is going on now, in a few words."""

    def part(self, text: str) -> None:
        """A part of the run begins, such as the trial of a remedy. Its steps are counted from zero."""

    def begins(self, total: int, what: str) -> None:
        """This many more steps of this part will end, each with ``done``.

        Args:
            total: How many.
            what: What one of them is, such as ``probe``.
        """

    def done(self, verdict: str = "") -> None:
        """A step has ended, with this verdict where it has one."""


SILENT = Progress()
"""For runs that nobody watches."""
