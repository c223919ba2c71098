"""From evidence to findings: judges every probe and groups the hits of one fault."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from ckptdoctor import catalog
from ckptdoctor.model.evidence import Environment, Evidence
from ckptdoctor.model.report import Finding, Outcome, ProbeResult, Verdict
from ckptdoctor.planning.options import COURSE, NO_FUNCTION, PERTURBED
from ckptdoctor.planning.plan import Plan, Planned
from ckptdoctor.rules import NOT_DIAGNOSED, RULES, Case, Rule, RuleHit, judge
from ckptdoctor.store import locations
from ckptdoctor.verdict import ruling_out
from ckptdoctor.words.wording import SIMULATED, counted, engines_in_words, function_name, listed

Key = tuple[object, ...]

SEEN = {
    ("bound method", ""): "bound-method",
    ("functools.partial", "bound method"): "partial-bound",
    ("functools.partial", "function"): "partial-function",
    ("functools.partial", "wrapped function"): "partial-function",
    ("functools.partial", "functools.partial"): "nested-partial",
    ("module", ""): "module",
    ("wrapped function", ""): "wraps",
    ("function", ""): "closure",
}
"""Calling conventions by what the callable is and what it holds."""


@dataclass(frozen=True)
class Found:
    """The probe results and findings of a plan."""

    cases: tuple[Case, ...] = ()
    probes: tuple[ProbeResult, ...] = ()
    findings: tuple[Finding, ...] = ()

    def with_findings(self, found: tuple[Finding, ...]) -> Found:
        """The same with other findings, such as those with their remedies."""
        return replace(self, findings=found)

    def cases_of(self, finding: Finding) -> list[Case]:
        """The probes on which a finding rests."""
        return [case for case in self.cases if case.spec.id in finding.probes]

    def where(self, how: str) -> str:
        """What a verdict is about: ``here``, or of a job, the model that was tried and how that is known."""
        if not how:
            return "here"
        counting = [one for one in self.probes if one.role == "subject"]
        # A probe that was skipped built no model: it does not know the family.
        names = [one.evidence.family for one in counting if one.evidence.family]
        names = names or [one.model.rpartition("/")[2] for one in counting]
        return f"on {listed(list(dict.fromkeys(names)))} ({how})"

    def verdict(self, where: str = "here", stand_in: str = "", brief: bool = False) -> tuple[Verdict, str]:
        """The verdict, and the reason in a sentence or two.

        The verdict is ``ok`` only if every probe that counts was judged and no rule found an error in one.

        Args:
            where: What the sentence is about: ``here``, or ``on glm4 (given with --model)`` for a job.
            stand_in: The sentence that says that a job's own model was not tried. Then no verdict is ``ok``.
            brief: Whether to leave out what works with which functions and engines, where a list of them goes with it.
        """
        verdict, summary = self._verdict(where, brief)
        if not stand_in:
            return verdict, summary
        return "not judged" if verdict == "ok" else verdict, f"{stand_in} {summary}"

    def _verdict(self, where: str, brief: bool) -> tuple[Verdict, str]:
        by_verdict: dict[Verdict, list[ProbeResult]] = {}
        for probe in self.probes:
            if probe.role == "subject" and probe.variant != PERTURBED and not is_impossible_variant(probe):
                by_verdict.setdefault(self.verdict_on(probe), []).append(probe)
        working = by_verdict.get("ok", [])
        unjudged = _names(by_verdict.get("not judged", []))
        why = f"{unjudged} {'was' if ' and ' not in unjudged else 'were'} not judged: there is no GPU here."
        faults = [one for one in self.findings if one.severity == "error" and one.rule != NOT_DIAGNOSED]
        if faults:
            codes = listed(sorted({one.rule for one in faults}))
            count = "one fault" if len(faults) == 1 else f"{len(faults)} faults"
            failing = {case.spec.function for one in faults for case in self.cases_of(one)}
            with_what = listed(sorted(function_name(name) for name in failing))
            found = f"Gradient checkpointing does not work {where} with {with_what}: {count} ({codes})."
            open_ends = "error" in by_verdict
            more = f" Part of this environment cannot be diagnosed ({NOT_DIAGNOSED})." if open_ends else ""
            return "fail", f"{found}{more}{f' {why}' if unjudged else ''}"
        if "error" in by_verdict and working:
            return "error", f"Part of this environment cannot be diagnosed; {counted(len(working), 'probe')} worked."
        if "error" in by_verdict or not (working or unjudged):
            return "error", "This environment cannot be diagnosed."
        if unjudged:
            return "not judged", f"{_works(working, where, brief)} {why}" if working else why
        return "ok", _works(working, where, brief)

    def verdict_on(self, probe: ProbeResult) -> Verdict:
        """The verdict on one probe, for reports and maps."""
        if self.works(probe):
            return "ok"
        if any(one.rule != NOT_DIAGNOSED for one in self._errors_of(probe)):
            return "fail"
        return "not judged" if probe.outcome == "not judged" else "error"

    def works(self, probe: ProbeResult) -> bool:
        """Whether a function works in a probe: the one definition for verdicts, maps and remedies.

        The step was run, here or simulated on the CPU, and no rule found an error in it. A warning does not count. A probe
        for comparison has no findings, so no rule may fire on it.
        """
        if probe.outcome == "triggered" and probe.role == "subject":
            return not self._errors_of(probe)
        return probe.outcome == "ok" and not self._errors_of(probe)

    def _errors_of(self, probe: ProbeResult) -> list[Finding]:
        return [one for one in self.findings if probe.id in one.probes and one.severity == "error"]

    def notes(self) -> list[str]:
        """What the reader must know about the verdict."""
        subjects = [one for one in self.probes if one.role == "subject"]
        simulated = [one for one in subjects if one.evidence.forward_only and one.outcome != "not judged"]
        notes = list(
            dict.fromkeys(note for case in self.cases if case.planned.role == "subject" for note in _as_run(case))
        )
        notes += _lost_controls(self.cases)
        if not simulated:
            return notes
        names = _names(simulated)
        needs = "need" if " and " in names else "needs"
        return [
            *notes,
            f"{names} {needs} a GPU in backward, and there is none here: {SIMULATED}.",
        ]


def _as_run(case: Case) -> Iterator[str]:
    """How the step of a probe differs from the step of the job."""
    spec, evidence = case.spec, case.evidence
    if evidence.targets_missing and evidence.ended != "skipped":
        missing = listed([f"`{name}`" for name in evidence.targets_missing], limit=9)
        yield f"{spec.model} has no {missing}, which the job adapts with LoRA. Give the job's model family with --model."
    if spec.variant == COURSE and evidence.ended == "skipped":
        yield f"The long test of {spec.function} was not run: {evidence.why}."
    if evidence.unprepared:
        title = catalog.trainers()[spec.setup.prepared_by].title
        yield f"{title}'s own patches for this model were not applied. {evidence.unprepared}"
    if spec.setup.precision == "fp16" and evidence.precision == "bf16":
        yield "The job uses fp16, which the CPU does not support: bf16 was run instead."
    elif evidence.model_class and evidence.precision not in (spec.setup.precision, _rounds_to(spec.engine)):
        yield f"The job computes in {spec.setup.precision}: {evidence.precision} was run instead."
    if evidence.media_untried:
        what = listed(list(evidence.media_untried))
        yield f"{evidence.model_class} also takes {what}, which were not tried: no layer that only {what} go through was run."


def _rounds_to(engine: str) -> str:
    """The precision of an engine's own, which counts in the place of autocast's."""
    return catalog.engines()[engine].record.precision.get(engine, "")


def _lost_controls(cases: Iterable[Case]) -> Iterator[str]:
    """Steps for comparison that did not finish. The verdict ignores them; a note names them."""
    lost: dict[str, list[str]] = {}
    for case in cases:
        if case.planned.role == "control" and case.evidence.is_lost:
            lost.setdefault(case.happened, []).append(case.spec.id)
    for why, names in lost.items():
        yield f"These steps did not finish and are ignored: {listed(names, limit=3)} ({why})."


def _works(probes: list[ProbeResult], where: str, brief: bool) -> str:
    if all(one.checkpoint_function == NO_FUNCTION for one in probes):
        return f"Gradient checkpointing is switched off {where}, and the step runs."
    if brief:
        of = "" if where == "here" else f" {where}"
        warned = sum(bool(one.rules) for one in probes)
        but = f", with a warning in {'it' if len(probes) == 1 else warned}" if warned else ""
        return f"Gradient checkpointing works{of} in {_every(len(probes))}{but}."
    engines = engines_in_words({one.engine for one in probes})
    return f"Gradient checkpointing works {where} with {_names(probes)}, under {engines}."


def _every(count: int) -> str:
    return f"all {count} steps that count" if count > 1 else "the one step that counts"


def _names(probes: list[ProbeResult]) -> str:
    return listed(sorted({function_name(one.checkpoint_function) for one in probes}), limit=6)


def is_impossible_variant(probe: ProbeResult) -> bool:
    """Whether the probe is a variant of the step that this stack cannot run: then only the usual step counts."""
    return bool(probe.variant) and probe.outcome == "skipped" and NOT_DIAGNOSED not in probe.rules


def find(environment: Environment, plan: Plan, evidence: Iterable[Evidence]) -> Found:
    """Judge every probe and group the rules that fired."""
    by_id = {one.id: one for one in evidence}
    others = {planned.spec.id: (planned, by_id[planned.spec.id]) for planned in plan.probes if planned.spec.id in by_id}
    cases = tuple(Case(planned, one, others) for planned, one in others.values())
    probes: list[ProbeResult] = []
    groups: dict[Key, list[tuple[Rule, RuleHit, Case]]] = {}
    for case in cases:
        fired = judge(case)
        probes.append(_probe(case, tuple(rule.code for rule, _ in fired)))
        for rule, one in fired if case.planned.role == "subject" else ():
            groups.setdefault(_key(rule, one), []).append((rule, one, case))
    found = [_finding(group, environment) for group in groups.values()]
    found.sort(key=lambda one: (one.severity != "error", list(RULES).index(one.rule)))
    return Found(cases, tuple(probes), tuple(found))


def _key(rule: Rule, fired: RuleHit) -> Key:
    """Hits with the same key are one fault: the same rule and severity, at the same lines or with the same title."""
    culprit, handed = fired.culprit, fired.passed_by
    if handed is not None and handed.file.startswith(str(locations.probes())):
        handed = None  # our own model has one line for each convention; the fault is the same in all of them
    return (
        rule.code,
        fired.severity,
        (culprit.file, culprit.line) if culprit else fired.title,
        (handed.file, handed.line) if handed else "",
    )


def _finding(group: list[tuple[Rule, RuleHit, Case]], environment: Environment) -> Finding:
    rule, fired, case = group[0]
    cases = [one for _, _, one in group]
    handover = case.handover if fired.passed_by else None
    return Finding(
        rule=rule.code,
        name=rule.name,
        severity=fired.severity,
        title=fired.title,
        detail=f"{fired.detail}{_not_ruled_out(cases) if rule.code != NOT_DIAGNOSED else ''}",
        probes=tuple(one.spec.id for one in cases),
        culprit=fired.culprit,
        passed_by=fired.passed_by,
        built=handover.built if handover and fired.passed_by == handover.by else None,
        callable=handover.callable if handover else None,
        error=fired.error or case.evidence.error,
        ruled_out=ruling_out.find(cases, fired, environment) if rule.code != NOT_DIAGNOSED else (),
    )


def _not_ruled_out(cases: list[Case]) -> str:
    """A sentence on engines that may be the cause: the step without checkpointing did not finish under them."""
    engines = {case.spec.engine for case in cases if case.spec.engine != "none" and case.lost_control()}
    if not engines:
        return ""
    named = engines_in_words(engines)
    return f" The step without checkpointing did not finish under {named}, so {named} is not ruled out as the cause."


def _probe(case: Case, rules: tuple[str, ...]) -> ProbeResult:
    evidence = case.evidence
    return ProbeResult(
        id=case.spec.id,
        model=case.spec.model,
        checkpoint_function=case.spec.function,
        engine=case.spec.engine,
        calling_convention=_convention(case.planned, evidence),
        variant=case.spec.variant or (case.spec.setup.label if case.planned.usual else ""),
        role=case.planned.role,
        outcome=_outcome(case, rules),
        error=case.happened or None,
        evidence=evidence,
        rules=rules,
    )


def _convention(planned: Planned, evidence: Evidence) -> str:
    """The convention that was chosen, or the one that the model used."""
    if planned.spec.convention != "model" or not evidence.handovers:
        return planned.spec.convention
    handed = evidence.handovers[0].callable
    kinds = (handed.kind, handed.inner.kind if handed.inner else "")
    return SEEN.get(kinds) or SEEN.get((handed.kind, "")) or handed.kind


def _outcome(case: Case, rules: Sequence[str]) -> Outcome:
    ended = case.evidence.ended
    if case.needs_its_engine:
        return "skipped"
    if ended == "raised":
        if any(code != NOT_DIAGNOSED for code in rules):
            return "triggered"
        if case.evidence.error and case.evidence.error.needs_cuda:
            return "not judged"
        return "skipped" if case.is_impossible_variant else "failed"
    if ended == "returned":
        return "not judged" if case.is_undecided else "triggered" if rules else "ok"
    return ended
