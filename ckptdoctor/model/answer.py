"""What is known of releases that somebody asks for."""

from __future__ import annotations

from typing import Literal

import msgspec

from ckptdoctor.model.compatibility import How
from ckptdoctor.model.exit_status import ExitStatus
from ckptdoctor.model.explanation import Combination

SCHEMA = "ckptdoctor/answer/1"

Known = Literal["works", "fails", "some work", "not known"]

STATUS: dict[Known, ExitStatus] = {
    "works": ExitStatus.OK,
    "fails": ExitStatus.FOUND,
    "some work": ExitStatus.FOUND,
    "not known": ExitStatus.UNDIAGNOSED,
}
"""The exit status that an answer comes to."""


class Pair(msgspec.Struct, frozen=True):
    """A release of a trainer with a release of transformers."""

    trainer: str
    release: str
    transformers: str
    works: bool
    rules: tuple[str, ...]
    """Of the faults that were found, in any family."""
    how: How
    unmet: tuple[str, ...] = ()
    """Declared requirements of either that the other does not meet."""
    date: str = ""
    """When the runs were made that this rests on, the oldest of them: YYYY-MM-DD."""
    torch: str = ""
    """The torch that they were made with."""
    here: bool = False
    """Some of them were made on this machine, by ``known --extend``."""


class OfFamily(msgspec.Struct, frozen=True):
    """A model family with torch's own checkpoint functions, in a release of transformers."""

    family: str
    transformers: str
    known: Known
    """``not known``: a tiny model of the family does not run."""
    sentence: str
    """What is known, and how."""
    rules: tuple[str, ...]
    """Of the faults that were found."""
    how: How
    date: str = ""
    """When the run was made that this rests on: YYYY-MM-DD."""
    here: bool = False
    """It was made on this machine, by ``known --extend``."""


class Answer(msgspec.Struct, frozen=True):
    """The answer to a question of the form "does this work together?"."""

    schema: str
    known: Known
    summary: str
    """In a sentence or two."""
    pairs: tuple[Pair, ...]
    """All pairs that the question admits and that are known, oldest first."""
    nearest: tuple[Combination, ...] = ()
    """For one pair that fails or is not known: what works with one of its releases."""
    notes: tuple[str, ...] = ()
    """What of the question was left out, and why; which releases came since it was measured."""
    families: tuple[OfFamily, ...] = ()
    """Of a question about a family and no trainer: what is known of it, oldest release first."""
    since: dict[str, tuple[str, ...]] | None = None
    """Releases that came since, by package, oldest first; none if the index was not asked or did not answer."""

    @property
    def status(self) -> ExitStatus:
        """The exit status: nothing to say is none that works."""
        return STATUS[self.known]
