"""The one way through: target, plan, session, rules, remedies, report. Each step takes values and returns a new one."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import msgspec

from ckptdoctor import catalog, expected, remedies, results
from ckptdoctor.environment import interpreter, loopback
from ckptdoctor.environment.session import Session
from ckptdoctor.environment.target import Target
from ckptdoctor.knowledge import families
from ckptdoctor.model import pins
from ckptdoctor.model.evidence import Environment
from ckptdoctor.model.progress import SILENT, Progress
from ckptdoctor.model.report import DECIDED, SCHEMA, Finding, Report
from ckptdoctor.model.version import __version__
from ckptdoctor.planning import plan as planning
from ckptdoctor.planning.options import TORCH
from ckptdoctor.planning.plan import Plan
from ckptdoctor.planning.request import ProbeRequest, Request, probe_request
from ckptdoctor.remedies.context import RemedyContext
from ckptdoctor.rules import NOT_DIAGNOSED
from ckptdoctor.store import cache_eviction
from ckptdoctor.verdict import findings
from ckptdoctor.verdict.findings import Found

if TYPE_CHECKING:
    from ckptdoctor.job.reading import JobFile


def diagnose(request: Request, progress: Progress = SILENT) -> Report:
    """Run the probes in the target and say what they mean.

    Args:
        request: What to diagnose.
        progress: Told how it goes on.

    Raises:
        DoctorError: The target, the overlay or what was asked for cannot be had.
    """
    started = time.monotonic()
    if request.options.ranks > 1:
        loopback.require()
    job = _job(request)
    target = _target(request, progress)
    key = results.key(target.python, target.overlay, request, job)
    if request.use_cache and (known := results.load(key)) is not None:
        return known
    with target.session(target.overlay, request.at_once or _cores()) as session:
        environment = target.inspect(target.overlay, session).environment
        probes = probe_request(request, job, environment)
        if probes.unjudged or probes.refused:
            return _taking(started, _not_judged(probes, environment))
        plan = planning.make(environment, probes.options)
        found = _find(request, environment, plan, session)
        helped, notes = _with_remedies(request, target, environment, plan, found, session, progress)
        notes = [*notes, *remedies.unmet_pins(environment), *_crashed_once(session)]
        report = _taking(started, expected.compare(_report(probes, environment, plan, helped, notes)))
        results.store(key, report, [*session.files, *_own_files(found)], environment.paths, session.reads)
    cache_eviction.keep_within_limit(target.cache, progress)
    return report


def look(request: Request, progress: Progress = SILENT) -> Environment:
    """What is installed in the target, without running anything in it."""
    target = _target(request, progress)
    looked = target.inspect(target.overlay).environment
    if target.overlay is not None:
        cache_eviction.keep_within_limit(target.cache, progress)
    return looked


def _job(request: Request) -> JobFile | None:
    if not request.job:
        return None
    from ckptdoctor.job.reading import JobFile

    return JobFile(*request.job)


def _target(request: Request, progress: Progress) -> Target:
    python = interpreter.find(request.python, os.environ)
    progress(f"inspecting {python}")
    return Target(python, request.requirements, request.with_dependencies, progress)


def _find(request: Request, environment: Environment, plan: Plan, session: Session) -> Found:
    """Run the probes, and judge what they observed."""
    if request.find_remedies:
        remedies.warm_up()
    return findings.find(environment, plan, session.examine(plan.by_worker()))


def _with_remedies(
    request: Request,
    target: Target,
    environment: Environment,
    plan: Plan,
    found: Found,
    session: Session,
    progress: Progress,
) -> tuple[Found, list[str]]:
    """What was found with what fixes it, and notes on how that was looked for."""
    if not request.find_remedies:
        return found, []
    with ExitStack() as closing:
        context = RemedyContext(target, request, environment, plan, found, session, closing, progress)
        return found.with_findings(remedies.find(context, request.verify)), remedies.edited(context)


def _report(probes: ProbeRequest, environment: Environment, plan: Plan, found: Found, notes: list[str]) -> Report:
    where = found.where(probes.how)
    verdict, summary = found.verdict(where, probes.stand_in)
    return Report(
        schema=SCHEMA,
        version=__version__,
        verdict=verdict,
        summary=summary,
        environment=environment,
        probes=found.probes,
        findings=found.findings,
        job=probes.job,
        notes=(*probes.notes, *plan.notes, *found.notes(), *_known(probes, environment, found), *notes),
        not_tried=(*probes.not_tried, *plan.not_tried),
        not_starting=_not_starting(environment, plan),
        headline=found.verdict(where, probes.stand_in, brief=True)[1],
    )


def _known(probes: ProbeRequest, environment: Environment, found: Found) -> list[str]:
    """What is known of a family that fails in this release of transformers, and that was not run here: that would tell more."""
    asked = dict.fromkeys(filter(None, (*probes.options.models, probes.family)))
    run = {one.model for one in found.probes if found.verdict_on(one) in DECIDED and one.checkpoint_function in TORCH}
    return families.not_run(environment.version("transformers"), [one for one in asked if one not in run])


def _not_starting(environment: Environment, plan: Plan) -> tuple[str, ...]:
    """Trainers that start no job of those that are asked about."""
    used = {name for name in environment.stack if name not in catalog.checked_if_used()} | plan.used
    return tuple(dict.fromkeys(one.who for one in pins.refusing(environment, used)))


def _not_judged(probes: ProbeRequest, environment: Environment) -> Report:
    """The report on a job of which nothing can be said: what can be tried here is not what checkpoints it."""
    title = "This job does not start" if probes.refused else "This job's checkpointing is not judged"
    detail = " ".join([*probes.refused, *probes.unjudged])
    return Report(
        schema=SCHEMA,
        version=__version__,
        verdict="error",
        summary=f"{title}: {detail}",
        environment=environment,
        probes=(),
        findings=(
            Finding(rule=NOT_DIAGNOSED, name="not-diagnosed", severity="error", title=title, detail=detail, probes=()),
        ),
        job=probes.job,
        notes=(
            *probes.notes,
            *_known(probes, environment, Found()),
            *([] if probes.refused else remedies.unmet_pins(environment)),
        ),
        not_tried=probes.not_tried,
    )


def _taking(started: float, report: Report) -> Report:
    """The report with the time that it took."""
    return msgspec.structs.replace(report, seconds=round(time.monotonic() - started, 2))


def _crashed_once(session: Session) -> list[str]:
    return [f"{name} crashed once, and ran when it was run again alone." for name in session.crashed_once]


def _own_files(found: Found) -> list[str]:
    """Files that were read beside modules: the user's own checkpoint functions."""
    return [one.evidence.loaded.place.file for one in found.probes if one.evidence.loaded]


def _cores() -> int:
    available = getattr(os, "sched_getaffinity", None)
    return max(len(available(0)) if available else os.cpu_count() or 1, 1)
