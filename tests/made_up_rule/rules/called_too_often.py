"""CKPT950, a rule that does not exist: the checkpoint function is called more than once a layer."""

from __future__ import annotations

import re

from ckptdoctor.rules.common.case import Case
from ckptdoctor.rules.common.log import InLog, LogContext, LogError, LogVerdict, LogWarning, Message
from ckptdoctor.rules.common.reproduction import Assertion
from ckptdoctor.rules.common.rule import Rule, RuleHit


def judge(case: Case) -> RuleHit | None:
    """Fires when the checkpoint function was called more often than there are layers."""
    called, layers = case.evidence.function_called, len(case.evidence.layers)
    if not case.is_checkpointed or called <= layers:
        return None
    return RuleHit(
        title=f"{case.spec.function} is called more than once a layer",
        detail=f"It was called {called} times in a step, for {layers} layers.",
        culprit=case.passed_by,
        passed_by=case.passed_by,
    )


_TWICE = re.compile(r"layer \d{1,4} is checkpointed already")
_WARNING = "Checkpointing a layer twice is slow"


def judge_log(error: LogError, context: LogContext) -> LogVerdict | None:
    """Recognises the error of a function that counts its calls."""
    if not _TWICE.search(error.message):
        return None
    caller = error.frames[-1].place if error.frames else None
    fixes = ["If a trainer and a script both switch checkpointing on: leave it to the trainer."]
    return LogVerdict("ours", f"A layer is checkpointed twice: {error.text}", caller, fixes=fixes)


RULE = Rule(
    code="CKPT950",
    name="called-too-often",
    meaning="The checkpoint function is called more than once a layer.",
    explanation="Two callers pass the same layer to the checkpoint function.",
    links=("https://example.org/issues/1",),
    judge=judge,
    implies=("CKPT003", "CKPT010"),
    label="called at",
    in_log=InLog(
        judge_log,
        messages=(Message(_TWICE, "RuntimeError", "already"),),
        warning=LogWarning(
            _WARNING,
            alone=LogVerdict("suspected", "It looks like CKPT950: a library warns of it."),
            beside="A library warns of layers that are checkpointed twice (CKPT950).",
        ),
    ),
    assertion=Assertion(
        "calls of the checkpoint function",
        'assert len(calls) <= 2, f"calls of the checkpoint function: {len(calls)}"\n',
        before="calls = []\n",
    ),
)
