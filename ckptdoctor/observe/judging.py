"""From what processes reported to a report: each step of each rank is judged as a probe, by the same rules."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import msgspec
from msgspec import structs

from ckptdoctor.explain.explain import explain
from ckptdoctor.model.evidence import Environment, Error, Evidence, Setup, Spec
from ckptdoctor.model.report import SCHEMA, Finding, Report, Verdict
from ckptdoctor.model.version import __version__
from ckptdoctor.model.workers import FULL_STACK
from ckptdoctor.observe import notes
from ckptdoctor.observe.folder import ProcessReport
from ckptdoctor.observe.job import Job, Observed, ranks
from ckptdoctor.planning.options import NO_FUNCTION
from ckptdoctor.planning.plan import Plan, Planned
from ckptdoctor.rules import NOT_DIAGNOSED, RULES
from ckptdoctor.verdict import findings
from ckptdoctor.verdict.findings import Found
from ckptdoctor.words.wording import counted, error_line, listed

_OWN_FIELDS = ("step", "function", "engine", "fsdp_checkpointing")
"""What an observer says beside evidence."""


def judge(job: Job) -> Report:
    """The report on a job."""
    observed = [pair for one in job.processes for pair in _observed(one, _label(one, job.processes))]
    environment = next((one.environment for one in job.processes if one.environment is not None), None)
    environment = environment or _unknown(job.processes)
    plan = Plan([planned for planned, _ in observed])
    found = findings.find(environment, plan, [evidence for _, evidence in observed])
    more = _unexplained(found)
    verdict, summary = _verdict(found, job, observed, more)
    return Report(
        schema=SCHEMA,
        version=__version__,
        verdict=verdict,
        summary=summary,
        environment=environment,
        probes=found.probes,
        findings=(*found.findings, *more),
        job=job.command,
        notes=tuple(notes.of(job, observed)),
        next_command=notes.next_command(found, environment, observed),
    )


def _label(process: ProcessReport, processes: Sequence[ProcessReport]) -> str:
    """The rank; with the process where a command runs several trainings, one after the other."""
    is_alone = sum(one.rank == process.rank for one in processes) == 1
    return f"rank {process.rank}" if is_alone else f"rank {process.rank} of process {process.pid} on {process.host}"


def _observed(process: ProcessReport, label: str) -> Iterator[tuple[Planned, Evidence]]:
    """Each step of a process, and the error that ended it, as a probe with its evidence."""
    for told in (*process.steps, *([process.error] if process.error is not None else [])):
        spec = Spec(
            model=told.get("model_class") or "model",
            function=told["function"],
            engine=told["engine"],
            setup=Setup(fsdp_checkpointing=bool(told.get("fsdp_checkpointing"))),
            ranks=process.world,
            observed=f"{label}, step {told['step']}",
        )
        fields = {key: value for key, value in told.items() if value is not None and key not in _OWN_FIELDS}
        evidence = msgspec.convert({"id": spec.id, "rank": process.rank, **fields}, Evidence)
        if evidence.unobserved:
            evidence = structs.replace(evidence, why=evidence.unobserved)
        yield Planned(spec, "subject", FULL_STACK), evidence


def _unknown(processes: Sequence[ProcessReport]) -> Environment:
    """The environment where no process told of it."""
    return Environment(python="", executable=processes[0].executable if processes else "", platform="")


# -- errors that no rule explains -------------------------------------------------------------------------------------


def _unexplained(found: Found) -> tuple[Finding, ...]:
    """A finding for each error that ended a rank and that no rule judged: what `explain` says of its traceback."""
    told: dict[str, Finding] = {}
    is_cause = any(one.evidence.error and not _is_consequence(one.evidence.error) for one in found.cases)
    for case in found.cases:
        error = case.evidence.error
        if (
            error is None
            or (is_cause and _is_consequence(error))
            or any(case.spec.id in one.probes for one in found.findings)
        ):
            continue
        line = error_line(error)
        known = told.get(line)
        told[line] = (
            structs.replace(known, probes=(*known.probes, case.spec.id)) if known else _explained(error, case.spec.id)
        )
    return tuple(told.values())


_GONE = re.compile(
    r"connection (?:closed|reset) by peer|broken pipe|socket timeout|nccl communicator was aborted|ncclRemoteError"
    r"|watchdog caught collective operation timeout",
    re.IGNORECASE,
)
"""What a rank says when another one has ended."""


def _is_consequence(error: Error) -> bool:
    return bool(_GONE.search(error.message))


def _explained(error: Error, probe: str) -> Finding:
    explanation = explain(_traceback(error))
    is_ours = explanation.verdict == "ours"
    rule = RULES[explanation.rule if is_ours else NOT_DIAGNOSED]
    if is_ours:
        title, detail = explanation.summary, " ".join(explanation.fixes) or explanation.summary
    elif error.type.endswith("OutOfMemoryError"):
        title = "The command ran out of memory"
        detail = (
            "That alone does not say whether checkpointing works: the steps before it, if there were any, were judged."
        )
    elif explanation.verdict == "suspected":
        title, detail = "The command ended with an error that may be about checkpointing", explanation.summary
    else:
        title = "The command ended with an error that ckptdoctor does not know"
        detail = "It is not about checkpointing, as far as its traceback tells."
    return Finding(
        rule=rule.code,
        name=rule.name,
        severity="error",
        title=title,
        detail=detail,
        probes=(probe,),
        culprit=error.frames[-1] if error.frames else None,
        error=error,
    )


def _traceback(error: Error) -> str:
    """An error as Python prints it."""
    frames = [f'  File "{one.file}", line {one.line}, in {one.function}\n    {one.code}' for one in error.frames]
    return "\n".join(["Traceback (most recent call last):", *frames, f"{error.type}: {error.message}", ""])


# -- the verdict ------------------------------------------------------------------------------------------------------


def _verdict(found: Found, job: Job, observed: Observed, more: Sequence[Finding]) -> tuple[Verdict, str]:
    """The verdict: ``ok`` only if all ranks were observed, and each step of each rank is sound."""
    processes = job.processes
    if not observed and not job.lost:
        return "error", _nothing(processes)
    faults = [one for one in (*found.findings, *more) if one.severity == "error" and not RULES[one.rule].not_judged]
    if faults:
        titles = listed([f"{one.title} ({one.rule})" for one in faults], limit=2)
        return "fail", f"Gradient checkpointing does not work in this job: {titles}."
    if more:
        return "error", f"The command ended with an error: {error_line(more[0].error) if more[0].error else ''}"
    gave_up = [one for one in processes if one.ended == "gave up"]
    if gave_up:
        return "error", f"The observer of rank {gave_up[0].rank} failed and switched itself off: {gave_up[0].why}"
    if job.lost:
        named = ranks(sorted({one.rank for one in job.lost}))
        return "error", f"The command ended with status {job.status} while {named} trained: killed, or out of memory."
    verdict, summary = found.verdict("in this job")
    if verdict != "ok":
        return verdict, summary
    if all(planned.spec.function == NO_FUNCTION for planned, _ in observed):
        steps = counted(len(observed), "step")
        return "not judged", (
            f"No layer was checkpointed in the {steps} seen: nothing switched gradient checkpointing on. If the job's settings "
            "ask for it, they had no effect."
        )
    absent = _absent(processes) if job.is_whole else []
    if absent:
        return "not judged", f"{summary} But {ranks(absent)} of {_world(processes)} reported nothing."
    seen_in = counted(len({one.rank for one in processes}), "rank")
    small = " The job was made small." if job.small else ""
    return "ok", f"{summary} Seen in {counted(len(observed), 'step')} of {seen_in}.{small}"


def _nothing(processes: Sequence[ProcessReport]) -> str:
    gave_up = [one for one in processes if one.ended == "gave up"]
    if gave_up:
        return f"The observer failed and switched itself off: {gave_up[0].why}"
    return (
        "No training step was seen: no Python of this command imported torch and trained a model with several layers. "
        "Python that starts with -I, -E or -S, in a container or on another machine is not observed."
    )


def _world(processes: Sequence[ProcessReport]) -> int:
    return max((one.world for one in processes), default=1)


def _absent(processes: Sequence[ProcessReport]) -> list[int]:
    there = {one.rank for one in processes if one.steps}
    return [rank for rank in range(_world(processes)) if rank not in there]
