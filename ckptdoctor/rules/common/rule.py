"""What a rule is, and what it says of a probe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ckptdoctor.model.evidence import Error, Place
from ckptdoctor.model.report import Severity
from ckptdoctor.rules.common.case import Case
from ckptdoctor.rules.common.log import InLog
from ckptdoctor.rules.common.reproduction import Assertion

WHERE = "where"
"""The label of a line to blame of which nothing more is known."""


@dataclass(frozen=True)
class RuleHit:
    """What a rule says of a probe."""

    title: str
    detail: str
    severity: Severity = "error"
    culprit: Place | None = None
    passed_by: Place | None = None
    error: Error | None = None
    """The error that it is about, where it is not the one that ended the probe."""


@dataclass(frozen=True)
class Rule:
    """A way in which checkpointing can fail.

    Attributes:
        code: ``CKPT001``.
        name: A slug that leads to the rule's page.
        meaning: One line.
        explanation: Markdown: what happens, why, how it is recognised, what fixes it.
        links: Public reports.
        judge: Says whether the rule fires on a case.
        implies: Codes of rules that only follow from this one.
        label: What the line to blame did, as the head of a line: ``read by``.
        reads_callable: The function fails for what it reads from the callable: other releases, a patch of the line that
            reads, or the no-touch way may fix it.
        not_judged: It says that a probe could not be judged. It always counts, and implies every rule that is not
            ``seen_anyway``.
        seen_anyway: What it says holds even where the probe as a whole could not be judged.
        in_log: How ``explain`` recognises it in a log; nothing for a fault that no log shows.
        assertion: What the script of a bug report asserts; nothing for a fault that raises an error by itself.
    """

    code: str
    name: str
    meaning: str
    explanation: str
    links: tuple[str, ...]
    judge: Callable[[Case], RuleHit | None]
    implies: tuple[str, ...] = ()
    label: str = WHERE
    reads_callable: bool = False
    not_judged: bool = False
    seen_anyway: bool = False
    in_log: InLog | None = None
    assertion: Assertion | None = None

    def label_of(self, culprit: Place | None) -> str:
        """The label of a line to blame; a line that raises an error of its own has no other part."""
        is_raise = culprit is not None and culprit.code.startswith("raise ")
        return WHERE if is_raise else self.label
