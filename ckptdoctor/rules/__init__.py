"""Rules: what turns evidence into findings. One file a rule; ``RULES`` is all of them by code.

A rule looks at one probe at a time, in the light of all that were run (``Case``), and says whether it fires and with what
detail. What belongs together is put together afterwards, in ``ckptdoctor.diagnose``.
"""

from __future__ import annotations

from dataclasses import replace

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
        not_diagnosed,
    )
}

__all__ = ["RULES", "Case", "Fired", "Rule", "judge"]


def judge(case: Case) -> list[tuple[Rule, Fired]]:
    """The rules that fire on a probe, without those that only follow from another one.

    What a rule says of a variant alone, which not every job has, is a warning. What could not be diagnosed stays what it is.
    """
    fired = {code: found for code, rule in RULES.items() if (found := rule.judge(case)) is not None}
    if case.usual is not None:
        usual = {code for code in fired if RULES[code].judge(case.usual) is not None}
        kept = {*usual, not_diagnosed.RULE.code}
        fired = {code: one if code in kept else replace(one, severity="warning") for code, one in fired.items()}
    implied = {code for name in fired for code in RULES[name].implies}
    return [(RULES[code], found) for code, found in fired.items() if code not in implied]
