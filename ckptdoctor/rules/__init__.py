"""Rules: what turns evidence into findings. One file a rule; ``RULES`` is all of them by code.

A rule looks at one probe at a time, in the light of all that were run (``Case``), and says whether it fires and with what
detail. What belongs together is put together afterwards, in ``ckptdoctor.verdict.findings``.
"""

from __future__ import annotations

from dataclasses import replace

from ckptdoctor.model.report import Severity
from ckptdoctor.planning.plan import COURSE
from ckptdoctor.rules import (
    attribute_contract,
    backward_doubtful,
    does_not_run,
    gradients_missing,
    gradients_wrong,
    keywords_lost,
    loss_wrong,
    memory_not_saved,
    not_checkpointed,
    not_diagnosed,
    recomputation_mismatch,
    recomputed_again,
    state_changed,
)
from ckptdoctor.rules.case import Case, Fired, Rule

RULES: dict[str, Rule] = {
    module.RULE.code: module.RULE
    for module in (
        attribute_contract,
        not_checkpointed,
        recomputed_again,
        gradients_missing,
        gradients_wrong,
        keywords_lost,
        recomputation_mismatch,
        memory_not_saved,
        loss_wrong,
        does_not_run,
        backward_doubtful,
        state_changed,
        not_diagnosed,
    )
}

NON_REENTRANT = "torch:non-reentrant"

__all__ = ["RULES", "Case", "Fired", "Rule", "judge"]


def judge(case: Case) -> list[tuple[Rule, Fired]]:
    """The rules that fire on a probe, without those that only follow from another one.

    What a rule says of a variant alone, which not every job has, is a warning. A course is what every job has, but for the
    steps of it that are marked as rare. What could not be diagnosed stays what it is.
    """
    fired = _of_course(case) if case.evidence.steps else _all(case)
    usual = _all(case.usual) if case.usual is not None and fired else {}
    if case.needs_its_engine:
        return []
    has_failed = any(one.severity == "error" for one in usual.values()) and not case.usual_is_lost
    if case.spec.variant == COURSE and has_failed:
        # What fails at its first step has no course to speak of.
        fired = {code: one for code, one in fired.items() if code in usual}
    elif case.usual is not None and case.spec.variant != COURSE:
        kept = {*usual, not_diagnosed.RULE.code}
        fired = {code: one if code in kept else _at_most(one, "warning") for code, one in fired.items()}
    implied = {code for name in fired for code in RULES[name].implies} if not case.evidence.steps else set()
    return [(RULES[code], found) for code, found in fired.items() if code not in implied]


def _all(case: Case) -> dict[str, Fired]:
    return {code: found for code, rule in RULES.items() if (found := rule.judge(case)) is not None}


def _of_course(case: Case) -> dict[str, Fired]:
    """What the rules say of the first step at which they fire, each, and of the whole."""
    fired = {code: one for code, one in _all(case).items() if case.evidence.ended != "returned"}
    for step in case.steps():
        evidence = step.evidence
        if NON_REENTRANT in evidence.torch_too:
            continue  # torch does not get this step right either
        is_rare = evidence.rare or bool(evidence.torch_too)
        found = _all(step)
        implied = {code for name in found for code in RULES[name].implies}
        for code, one in found.items():
            told = _at_most(one, "warning") if is_rare else one
            if code not in implied and (code not in fired or fired[code].severity != "error" == told.severity):
                fired[code] = told
    return fired


def _at_most(fired: Fired, severity: Severity) -> Fired:
    return replace(fired, severity=severity) if fired.severity == "error" else fired
