"""Rules turn evidence into findings. There is one file per rule; ``RULES`` has all rules by code.

A rule judges one probe at a time and may look at all other probes (``Case``). It returns a ``RuleHit``, or nothing.
``ckptdoctor.verdict.findings`` groups the hits into findings.

Every module in this folder is a rule and defines ``RULE``. The parts of a rule are in ``ckptdoctor.rules.common``.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable
from dataclasses import replace

from ckptdoctor.model.evidence import Place
from ckptdoctor.model.report import Severity
from ckptdoctor.planning.options import COURSE, PERTURBED
from ckptdoctor.rules.common.case import Case
from ckptdoctor.rules.common.log import InLog
from ckptdoctor.rules.common.rule import WHERE, Rule, RuleHit

__all__ = [
    "NOT_DIAGNOSED",
    "RULES",
    "Case",
    "Rule",
    "RuleHit",
    "discover",
    "implied",
    "in_log",
    "judge",
    "label_of",
    "marks_of",
]


def discover() -> dict[str, Rule]:
    """The rules in the folders of this package, by code."""
    names = [module.name for module in pkgutil.iter_modules(__path__) if not module.ispkg]
    rules: list[Rule] = [importlib.import_module(f"{__name__}.{name}").RULE for name in names]
    return {rule.code: rule for rule in sorted(rules, key=lambda rule: rule.code)}


RULES = discover()

NOT_DIAGNOSED = next(code for code, rule in RULES.items() if rule.not_judged)
"""The code of the rule for probes that could not be judged. It is no fault, but it always counts."""

NON_REENTRANT = "torch:non-reentrant"


def label_of(code: str, culprit: Place | None, usual: str = WHERE) -> str:
    """The label of the line to blame in a finding: what the line did, or ``usual`` if the rule has no label.

    A stored map or report may name a rule that this version does not know.
    """
    label = RULES[code].label_of(culprit) if code in RULES else WHERE
    return usual if label == WHERE else label


def marks_of(code: str, culprit: Place | None) -> tuple[str, str]:
    """What happens at the line to blame, and at the line that passed the callable, as labels under their code."""
    rule = RULES.get(code)
    return (rule.mark_of(culprit), rule.passed) if rule else ("here", "passed here")


def reads_callable(code: str) -> bool:
    """Whether the rule is about what a function reads from the callable."""
    return code in RULES and RULES[code].reads_callable


def implied(codes: Iterable[str]) -> set[str]:
    """The rules that are only consequences of the given ones."""
    rules = [RULES[code] for code in codes]
    found = {code for rule in rules for code in rule.implies}
    if any(rule.not_judged for rule in rules):
        found |= {code for code, rule in RULES.items() if not (rule.not_judged or rule.seen_anyway)}
    return found


def in_log() -> list[tuple[Rule, InLog]]:
    """The rules that a log may show. Rules that others imply come last: they take the errors that no other rule explains."""
    following = implied(code for code, rule in RULES.items() if not rule.not_judged)
    readers = [(rule, rule.in_log) for rule in RULES.values() if rule.in_log is not None]
    return sorted(readers, key=lambda reader: (reader[0].code in following, reader[0].code))


def judge(case: Case) -> list[tuple[Rule, RuleHit]]:
    """The rules that fire on a probe, without those that are only a consequence of another one.

    A hit on a variant alone is a warning, because not every job has the variant. Every job has the course, except for its
    steps that are marked as rare. ``NOT_DIAGNOSED`` is never turned into a warning.
    """
    fired = _of_course(case) if case.evidence.steps else _all(case)
    usual = _all(case.usual) if case.usual is not None and fired else {}
    if case.needs_its_engine:
        return []
    is_broken = any(one.severity == "error" for one in usual.values())
    if case.spec.variant == PERTURBED and is_broken:
        return []  # what other values do to a step that fails means nothing
    has_failed = is_broken and not case.usual_is_lost
    if case.spec.variant == COURSE and has_failed:
        # If the first step fails, the rest of the course means nothing.
        fired = {code: _as_one(usual[code], one) for code, one in fired.items() if code in usual}
    elif case.usual is not None and case.spec.variant != COURSE:
        kept = {*usual, NOT_DIAGNOSED}
        fired = {code: one if code in kept else _at_most(one, "warning") for code, one in fired.items()}
        # What the usual step shows as well is one fault, whatever the variant.
        fired |= {code: replace(one, title=usual[code].title) for code, one in fired.items() if code in usual}
    left_out = implied(fired) if not case.evidence.steps else set()
    return [(RULES[code], found) for code, found in fired.items() if code not in left_out]


def _all(case: Case) -> dict[str, RuleHit]:
    return {code: found for code, rule in RULES.items() if (found := rule.judge(case)) is not None}


def _of_course(case: Case) -> dict[str, RuleHit]:
    """The hit of each rule at the first step at which it fires, and on the course as a whole."""
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


def _as_one(usual: RuleHit, of_course: RuleHit) -> RuleHit:
    """A hit of a course as that of the usual step, where that is no function's doing: a course has no probes of torch's own."""
    return of_course if usual.culprit or usual.severity != "error" else usual


def _at_most(fired: RuleHit, severity: Severity) -> RuleHit:
    return replace(fired, severity=severity) if fired.severity == "error" else fired
