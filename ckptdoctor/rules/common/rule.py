"""A rule, and its hit on a probe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ckptdoctor.model.evidence import Error, Place
from ckptdoctor.model.report import Severity
from ckptdoctor.rules.common.case import Case
from ckptdoctor.rules.common.log import InLog
from ckptdoctor.rules.common.reproduction import Assertion

WHERE = "where"
"""The label of a line to blame if the rule has no other."""


@dataclass(frozen=True)
class RuleHit:
    """A rule that fired on a probe: what is wrong, and which line is to blame."""

    title: str
    detail: str
    severity: Severity = "error"
    culprit: Place | None = None
    passed_by: Place | None = None
    error: Error | None = None
    """The error, if it is not the one that ended the probe."""


@dataclass(frozen=True)
class Rule:
    """A way in which checkpointing can fail.

    Attributes:
        code: ``CKPT001``.
        name: A slug that leads to the rule's page.
        meaning: One line.
        explanation: Markdown: what happens, why, how ckptdoctor recognises it, what fixes it.
        links: Public reports.
        judge: Says whether the rule fires on a case.
        implies: Codes of rules that are only a consequence of this one.
        label: What the line to blame did, e.g. ``read by``.
        passed: What happens at the line that passed the callable.
        reads_callable: The function fails because of an attribute that it reads from the callable. Other releases, a patch
            of that line, or the no-touch way may fix it.
        not_judged: It says that a probe could not be judged. It always counts, and implies every rule that is not
            ``seen_anyway``.
        seen_anyway: The hit is valid even if the probe as a whole could not be judged.
        in_log: How ``explain`` recognises the fault in a log; nothing if no log shows it.
        assertion: What the script of a bug report asserts; nothing if the fault raises an error.
    """

    code: str
    name: str
    meaning: str
    explanation: str
    links: tuple[str, ...]
    judge: Callable[[Case], RuleHit | None]
    implies: tuple[str, ...] = ()
    label: str = WHERE
    passed: str = "passed here"
    reads_callable: bool = False
    not_judged: bool = False
    seen_anyway: bool = False
    in_log: InLog | None = None
    assertion: Assertion | None = None

    def label_of(self, culprit: Place | None) -> str:
        """The label of a line to blame; ``where`` for a line that raises an error itself."""
        is_raise = culprit is not None and culprit.code.startswith("raise ")
        return WHERE if is_raise else self.label

    def mark_of(self, culprit: Place | None) -> str:
        """What happens at the line to blame, said under its code: ``read here``."""
        label = self.label_of(culprit)
        if label != WHERE:
            return f"{label.rpartition(' ')[0] or label} here"
        code = culprit.code if culprit else ""
        if code.startswith("raise"):
            return "raised here"
        return "defined here" if code.startswith(("def ", "async def ", "class ", "@")) else "here"
