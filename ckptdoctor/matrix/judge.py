"""From what is known of a base to the verdict on a combination, by the same rules as ``check``."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from ckptdoctor.errors import TargetError
from ckptdoctor.matrix import questions
from ckptdoctor.matrix.combination import Combination
from ckptdoctor.matrix.store import FACTS, Kept
from ckptdoctor.model.compatibility import Fault, Judged, Run
from ckptdoctor.model.evidence import Environment, Evidence, Place
from ckptdoctor.model.report import Finding, ProbeResult, Verdict
from ckptdoctor.planning.options import Options
from ckptdoctor.planning.plan import Plan
from ckptdoctor.rules import NOT_DIAGNOSED
from ckptdoctor.verdict import findings
from ckptdoctor.verdict.findings import Found
from ckptdoctor.words.wording import error_line, relative

LONGEST = 300
"""Characters of an error or a title that a map keeps."""


def run_of(combination: Combination, kept: Kept, options: Options) -> Run | None:
    """What is known of a combination; nothing while a probe of it has not been run.

    Args:
        combination: What is judged.
        kept: All that is known of its base.
        options: What to try.
    """
    refused = kept.refused.get(FACTS) or kept.refused.get(combination.trainer_requirement)
    if refused:
        return Run(combination.stack, combination.model, "error", refused, date=max(kept.made.values(), default=""))
    trainer = kept.trainers.get(combination.trainer_requirement)
    if kept.facts is None or (combination.trainer_requirement and trainer is None):
        return None
    try:
        planned = questions.plan(combination, kept.facts, trainer, options)
    except TargetError as error:
        packages = {name: kept.facts.version(name) for name in kept.facts.stack}
        date = kept.made.get(FACTS, "")
        return Run(combination.stack, combination.model, "error", error.message, packages=packages, date=date)
    if any(one.spec.id not in kept.evidence for one in planned.probes):
        return None
    environment = questions.with_trainer(kept.facts, trainer)
    found = findings.find(environment, *_without_overlays(planned, kept.evidence))
    dates = [kept.made[one.spec.id] for one in planned.probes if one.spec.id in kept.made]
    return _run(combination, environment, found, max(dates, default=""))


def _without_overlays(planned: Plan, evidence: dict[str, Evidence]) -> tuple[Plan, list[Evidence]]:
    """The same as if the trainer were installed: that is what the rules judge."""
    plan, observed = Plan(), []
    for one in planned.probes:
        spec = msgspec.structs.replace(one.spec, added="")
        plan.probes.append(replace(one, spec=spec))
        observed.append(msgspec.structs.replace(evidence[one.spec.id], id=spec.id))
    return plan, observed


def _run(combination: Combination, environment: Environment, found: Found, date: str) -> Run:
    verdict, summary = found.verdict()
    return Run(
        stack=combination.stack,
        model=next((probe.model for probe in found.probes), combination.model),
        verdict=verdict,
        summary=_summary(verdict, summary, found),
        functions=[_judged(probe, found) for probe in found.probes if probe.role == "subject"],
        faults=[_fault(finding, found) for finding in found.findings],
        packages={name: environment.version(name) for name in environment.stack},
        date=date,
    )


def _summary(verdict: Verdict, summary: str, found: Found) -> str:
    """For what cannot be diagnosed, the reason itself."""
    open_end = next((finding for finding in found.findings if finding.rule == NOT_DIAGNOSED), None)
    if verdict != "error" or open_end is None:
        return summary
    why = next((case.happened for case in found.cases_of(open_end)), "")
    return _short(f"{open_end.title}: {why}" if why else open_end.title)


def _judged(probe: ProbeResult, found: Found) -> Judged:
    evidence = probe.evidence
    tried = evidence.stand_in
    return Judged(
        function=probe.checkpoint_function,
        verdict=found.verdict_on(probe),
        engine=probe.engine,
        rules=list(probe.rules),
        convention=probe.calling_convention,
        why=_short(error_line(tried.error) if tried and tried.error else probe.error or ""),
        forward_only=evidence.forward_only,
    )


def _fault(finding: Finding, found: Found) -> Fault:
    functions = {case.spec.function for case in found.cases_of(finding)}
    return Fault(
        rule=finding.rule,
        severity=finding.severity,
        title=_short(finding.title),
        functions=sorted(functions),
        culprit=_place(finding.culprit),
        passed_by=_place(finding.passed_by),
        callable=finding.callable.text if finding.callable else "",
        error=_short(error_line(finding.error)) if finding.error else "",
    )


def _place(place: Place | None) -> Place | None:
    return msgspec.structs.replace(place, file=relative(place.file), source=msgspec.UNSET) if place else None


def _short(text: str) -> str:
    return " ".join(text.split())[:LONGEST]
