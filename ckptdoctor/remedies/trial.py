"""The result of running probes again with a remedy. Only this module decides whether a remedy is proven."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from ckptdoctor.model.evidence import Environment, Evidence, Spec
from ckptdoctor.model.proof import Proven
from ckptdoctor.model.report import Finding, Remedy
from ckptdoctor.planning.options import NO_FUNCTION, TORCH, first_of_all
from ckptdoctor.planning.plan import Plan, Planned
from ckptdoctor.remedies.context import RemedyContext
from ckptdoctor.rules.common.case import IN_WORDS
from ckptdoctor.verdict import findings
from ckptdoctor.words.wording import counted, engines_in_words, listed, stood_in


@dataclass(frozen=True)
class Trial:
    """The result of running probes again with a remedy.

    Attributes:
        fixed: Probes of the finding that now work.
        failing: Probes of the finding that still fail. A variant that this machine cannot run is in neither.
        kept: Probes that worked before and still work.
        lost: Probes that worked before and fail now.
        now: The rules that now fire on each probe of the finding.
        stood_in: Functions whose backward was simulated on the CPU.
        changes: Installed releases, by package.
        breaks: Declared requirements that these break.
        passed: All probes that work.
        open: The rules of all errors that are found with the remedy.
        scope: Which probes were run again.
    """

    fixed: tuple[str, ...]
    failing: tuple[str, ...]
    kept: tuple[str, ...]
    lost: tuple[str, ...]
    now: Mapping[str, Sequence[str]]
    stood_in: tuple[str, ...] = ()
    changes: Mapping[str, str] | None = None
    breaks: tuple[str, ...] = ()
    passed: tuple[str, ...] = ()
    open: tuple[str, ...] = ()
    scope: Proven = "all"

    def helps(self, finding: Finding, context: RemedyContext) -> bool:
        """Whether the finding is fixed and no probe that worked is lost.

        A variant of the step may now trip another rule, which the fault had hidden, such as dropout that is not repeated. Such
        a variant does not count against the remedy, but is named.
        """
        functions = {one.spec.function for one in context.probes if one.spec.id in finding.probes}
        must = first_of_all(functions)
        left = [one.spec for one in context.probes if one.spec.id in self.failing and one.spec.function in must]
        hidden = [one for one in left if one.variant and self.now[one.id] and finding.rule not in self.now[one.id]]
        return bool(self.fixed) and not self.lost and len(hidden) == len(left)

    def left(self, context: RemedyContext) -> list[str]:
        """The probes that still fail: ``llamafactory:unsloth with dropout (CKPT005)``."""
        return _named(self.failing, self.now, context)

    def shortcomings(self, context: RemedyContext) -> str:
        """The probes that still fail, and those that work with a warning, as the end of the remedy's cost."""
        left = self.left(context)
        warned = _named((one for one in self.fixed if self.now.get(one)), self.now, context)
        return (f"; still failing: {listed(left)}" if left else "") + (
            f"; with a warning: {listed(warned)}" if warned else ""
        )

    @property
    def tried(self) -> tuple[str, ...]:
        """Ids of the probes that work with it."""
        return tuple(dict.fromkeys([*self.fixed, *self.kept, *self.passed]))

    def words(self, finding: Finding) -> str:
        """Which probes were run with the remedy, and their results."""
        fixed, failed, kept = len(self.fixed), len(finding.probes), len(self.kept)
        are = "is" if fixed == 1 else "are"
        if self.scope == "all":
            still = (
                f"and the {kept} that passed before still {'is' if kept == 1 else 'are'}"
                if kept
                else "and none passed before"
            )
            return f"the {counted(fixed, 'probe')} that failed {are} ok, {still}"
        which = f"the {counted(fixed, 'probe')}" if fixed == failed else f"{fixed} of the {failed} probes"
        return f"{which} that failed {are} ok; no other probe was run with it"

    def proves(self, made: Remedy, finding: Finding, how: str, known: str = "") -> Remedy:
        """A remedy that helps, with the probes that were run as evidence.

        Args:
            made: The remedy.
            finding: The finding that it fixes.
            how: How it was applied, after "tried here".
            known: Other evidence for it.
        """
        evidence = f"tried here {how}: {self.words(finding)}{stood_in(self.stood_in)}"
        return self.marks(made, f"{evidence}; {known}" if known else evidence)

    def marks(self, made: Remedy, evidence: str) -> Remedy:
        """A remedy with the evidence of this trial and its probes."""
        return msgspec.structs.replace(made, evidence=evidence, proven=self.scope, tried=self.tried)


def _named(ids: Iterable[str], rules: Mapping[str, Sequence[str]], context: RemedyContext) -> list[str]:
    """Probes by function and variant or engine, each with the rules that fire on it."""
    wanted = set(ids)
    specs = [one.spec for one in context.probes if one.spec.id in wanted]
    return list(dict.fromkeys(f"{one.function}{_when(one)} ({listed(rules[one.id]) or 'fails'})" for one in specs))


def _when(spec: Spec) -> str:
    """The variant or engine of a probe, if it is not the usual step."""
    return IN_WORDS[spec.variant] or (f" under {engines_in_words([spec.engine])}" if spec.engine != "none" else "")


def judge_all(
    evidence: Iterable[Evidence],
    finding: Finding,
    context: RemedyContext,
    after: Environment,
    changes: Mapping[str, str] | None = None,
    breaks: tuple[str, ...] = (),
) -> Trial:
    """The trial of a remedy on every probe, judged by the same rules.

    Args:
        evidence: What the probes observed with the remedy.
        finding: The finding that the remedy should fix.
        context: The findings before.
        after: The target with the remedy.
        changes: Installed releases.
        breaks: Declared requirements that these break.
    """
    found = findings.find(after, Plan(context.probes), evidence)
    again = {one.spec.id for one in context.probes}
    had_passed = [one.id for one in context.found.probes if one.id in again and context.found.works(one)]
    working = {one.id for one in found.probes if found.works(one)}
    return replace(
        _judged(found, finding, context.probes),
        kept=tuple(one for one in had_passed if one in working),
        lost=tuple(one for one in had_passed if one not in working),
        changes=changes,
        breaks=breaks,
        passed=tuple(one.spec.id for one in context.probes if one.spec.id in working),
        open=tuple(sorted({one.rule for one in found.findings if one.severity == "error"})),
    )


def judge_failing(
    evidence: Iterable[Evidence], finding: Finding, context: RemedyContext, again: Sequence[Planned]
) -> Trial:
    """The trial of a remedy on failing probes, judged by the same rules with the controls of the diagnosis.

    Args:
        evidence: What the probes observed with the remedy.
        finding: The finding that the remedy should fix.
        context: The findings before.
        again: The probes that were run again.
    """
    controls = [case for case in context.found.cases if case.spec.function in (NO_FUNCTION, *TORCH)]
    plan = Plan([*again, *(case.planned for case in controls)])
    found = findings.find(context.environment, plan, [*evidence, *(case.evidence for case in controls)])
    trial = _judged(found, finding, again)
    return replace(trial, scope="failing" if len(trial.fixed) == len(finding.probes) else "some")


def _judged(found: findings.Found, finding: Finding, again: Sequence[Planned]) -> Trial:
    """The results of the probes of a finding that were run again."""
    now = {one.id: one for one in found.probes}
    working = {one.id for one in found.probes if found.works(one)}
    failed = [one.spec.id for one in again if one.spec.id in finding.probes]
    fixed = tuple(one for one in failed if one in working and finding.rule not in now[one].rules)
    unjudged = {one.id for one in found.probes if findings.is_impossible_variant(one)}
    return Trial(
        fixed=fixed,
        failing=tuple(one for one in failed if one not in fixed and one not in unjudged),
        kept=(),
        lost=(),
        now={one: now[one].rules if one in now else () for one in failed},
        stood_in=tuple(sorted({now[one].checkpoint_function for one in working if now[one].evidence.forward_only})),
    )
