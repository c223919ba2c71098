"""What an explanation says: the types of what is read out of a log."""

from __future__ import annotations

from typing import Literal

import msgspec

from ckptdoctor.model.compatibility import How
from ckptdoctor.model.evidence import Place

SCHEMA = "ckptdoctor/explanation/1"

ErrorVerdict = Literal["ours", "suspected", "not ours"]
Verdict = Literal["ours", "suspected", "not ours", "nothing found"]


class Seen(msgspec.Struct, frozen=True):
    """A release that a text names."""

    version: str
    where: list[str]
    """The lines that name it, each with its number; the first few."""


class Combination(msgspec.Struct, omit_defaults=True):
    """What is known of releases that a log names."""

    sentence: str
    how: How
    works: bool
    command: str = ""
    """What would bring it about."""


class ExplainedError(msgspec.Struct, omit_defaults=True):
    """An error that the text shows."""

    type: str
    message: str
    line: int
    """Where it stands in the text."""
    verdict: ErrorVerdict
    rule: str = ""
    summary: str = ""
    frames: list[Place] = []
    """Outermost first, files as the text has them."""
    culprit: Place | None = None
    """Whose code reads the attribute, or raised."""
    passed_by: Place | None = None
    ranks: list[str] = []
    """Labels of the processes that showed it."""
    follows: str = ""
    """How it came out of the error before it, empty when it did not."""


class Explanation(msgspec.Struct):
    """What a log or an issue text shows."""

    schema: str
    verdict: Verdict
    rule: str
    """The rule's code, empty where it is none."""
    summary: str
    errors: list[ExplainedError]
    """In the order in which they stand."""
    versions: dict[str, list[Seen]]
    """Releases that the text names, by package."""
    known: list[Combination]
    """What was measured of these releases, and what works with them."""
    fixes: list[str]
    """What else helps, each with the condition under which it does."""
    doubts: list[str]
    """What the text does not tell."""
