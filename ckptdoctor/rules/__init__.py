"""Rules: what turns evidence into findings. One file a rule; ``RULES`` is all of them by code.

A rule looks at one probe at a time, in the light of all that were run (``Case``), and says whether it fires and with what
detail. What belongs together is put together afterwards, in ``ckptdoctor.verdict.findings``.

Every module in this folder is a rule: it defines ``RULE``. What rules are made of is in ``ckptdoctor.rules.common``.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from dataclasses import replace

from ckptdoctor.model.evidence import Place
from ckptdoctor.model.report import Severity
from ckptdoctor.planning.options import COURSE
from ckptdoctor.rules.common.case import Case
from ckptdoctor.rules.common.log import InLog
from ckptdoctor.rules.common.rule import WHERE, Rule, RuleHit

__all__ = ["NOT_DIAGNOSED", "RULES", "Case", "Rule", "RuleHit", "discover", "implied", "in_log", "judge", "label_of"]


def discover() -> dict[str, Rule]:
    """The rules in the folders of this package, by code."""
    names = [module.name for module in pkgutil.iter_modules(__path__) if not module.ispkg]
    rules: list[Rule] = [importlib.import_module(f"{__name__}.{name}").RULE for name in names]
    return {rule.code: rule for rule in sorted(rules, key=lambda rule: rule.code)}


RULES = discover()

NOT_DIAGNOSED = next(code for code, rule in RULES.items() if rule.not_judged)
"""What could not be diagnosed: no fault, and never without consequence."""

NON_REENTRANT = "torch:non-reentrant"


def label_of(code: str, culprit: Place | None, usual: str = WHERE) -> str:
    """The label of a finding's line to blame: what the line did, ``usual`` where the rule has no word for it.

    A stored map or report may name a rule that this version does not know.
    """
    label = RULES[code].label_of(culprit) if code in RULES else WHERE
    return usual if label == WHERE else label


def implied(codes: Iterable[str]) -> set[str]:
    """The rules that only follow from others."""
    rules = [RULES[code] for code in codes]
    found = {code for rule in rules for code in rule.implies}
    if any(rule.not_judged for rule in rules):
        found |= {code for code, rule in RULES.items() if not (rule.not_judged or rule.seen_anyway)}
    return found


def in_log() -> list[tuple[Rule, InLog]]:
    """The rules that a log may show; those that others imply come last, since they take what no other explains."""
    following = implied(code for code, rule in RULES.items() if not rule.not_judged)
    readers = [(rule, rule.in_log) for rule in RULES.values() if rule.in_log is not None]
    return sorted(readers, key=lambda reader: (reader[0].code in following, reader[0].code))


def judge(case: Case) -> list[tuple[Rule, RuleHit]]:
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
        kept = {*usual, NOT_DIAGNOSED}
        fired = {code: one if code in kept else _at_most(one, "warning") for code, one in fired.items()}
    left_out = implied(fired) if not case.evidence.steps else set()
    return [(RULES[code], found) for code, found in fired.items() if code not in left_out]


def _all(case: Case) -> dict[str, RuleHit]:
    return {code: found for code, rule in RULES.items() if (found := rule.judge(case)) is not None}


def _of_course(case: Case) -> dict[str, RuleHit]:
    """What the rules say of the first step at which they fire, each, and of the whole."""
    fired = {code: one for code, one in _all(case).items() if case.evidence.ended != "returned"}
    for step in case.steps():
        evidence = step.evidence
        if NON_REENTRANT in evidence.torch_too:
            continue  # torch does not get this step right either
        is_rare = evidence.rare or bool(evidence.torch_too)
        found = _all(step)
        left_out = implied(found)
        for code, one in found.items():
            told = _at_most(one, "warning") if is_rare else one
            if code not in left_out and (code not in fired or fired[code].severity != "error" == told.severity):
                fired[code] = told
    return fired


def _at_most(fired: RuleHit, severity: Severity) -> RuleHit:
    return replace(fired, severity=severity) if fired.severity == "error" else fired
