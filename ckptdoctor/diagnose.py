"""The one way through: target, plan, session, rules, remedies, report."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from ckptdoctor import remedies, results
from ckptdoctor.environment import interpreter, loopback, overlay
from ckptdoctor.environment.session import Session
from ckptdoctor.model.evidence import Environment
from ckptdoctor.model.lanes import FULL_STACK, WITHOUT_DEEPSPEED
from ckptdoctor.model.report import SCHEMA, Finding, Report
from ckptdoctor.model.version import __version__
from ckptdoctor.planning import plan
from ckptdoctor.planning.request import Request, Wanted, wanted
from ckptdoctor.remedies.proof import Ground
from ckptdoctor.rules import NOT_DIAGNOSED
from ckptdoctor.store import cache_eviction, locations
from ckptdoctor.verdict import findings
from ckptdoctor.words.wording import listed

Progress = Callable[[str], None]


def diagnose(request: Request, progress: Progress = lambda _: None) -> Report:
    """Run the probes in the target and say what they mean.

    Args:
        request: What to diagnose.
        progress: Told what is going on, a few words at a time.

    Raises:
        DoctorError: The target, the overlay or what was asked for cannot be had.
    """
    started = time.monotonic()
    if request.options.ranks > 1:
        loopback.require()
    python = interpreter.find(request.python, os.environ)
    laid = _lay(python, request, progress)
    key = results.key(python, laid, request)
    if request.use_cache and (known := results.load(key)) is not None:
        return known
    cache = locations.cache()
    with Session(python, laid, request.workers or _cores(), cache, progress) as session, ExitStack() as closing:
        environment = session.look()
        asked = wanted(request, environment)
        if asked.unjudged:
            return _not_judged(asked, environment, time.monotonic() - started)
        planned = plan.make(environment, asked.options)
        if request.find_remedies:
            remedies.warm_up()
        evidence = session.examine(
            {WITHOUT_DEEPSPEED: planned.specs(WITHOUT_DEEPSPEED), FULL_STACK: planned.specs(FULL_STACK)}
        )
        found = findings.find(environment, planned, evidence)
        notes: list[str] = []
        if request.find_remedies:
            ground = Ground(python, laid, request, environment, planned, found, session, closing, progress)
            remedies.find(ground, request.verify)
            notes = remedies.edited(ground)
        report = _report(asked, environment, planned, found, notes, time.monotonic() - started)
        report.notes += [f"{name} crashed once, and ran when it was run again alone." for name in session.crashed_once]
        results.store(key, report, [*session.files, *_own_files(found)], environment.paths, session.reads)
    cache_eviction.keep_within_limit(cache, progress)
    return report


def look(request: Request, progress: Progress = lambda _: None) -> Environment:
    """What is installed in the target, without running anything in it."""
    python = interpreter.find(request.python, os.environ)
    laid = _lay(python, request, progress)
    with Session(python, laid, 1, locations.cache(), progress) as session:
        looked = session.look()
    if laid is not None:
        cache_eviction.keep_within_limit(locations.cache(), progress)
    return looked


def _lay(python: Path, request: Request, progress: Progress) -> Path | None:
    if not request.requirements:
        return None
    with Session(python, None, 1, locations.cache(), progress) as session:
        installed = {package.name: package.version for package in session.look().packages}
    return overlay.lay(
        python,
        request.requirements,
        with_dependencies=request.with_dependencies,
        environment_packages=installed,
        cache=locations.cache(),
        progress=progress,
    )


def _report(
    asked: Wanted,
    environment: Environment,
    planned: plan.Plan,
    found: findings.Found,
    notes: list[str],
    seconds: float,
) -> Report:
    models = list(dict.fromkeys(one.spec.model for one in planned.probes if one.role == "subject"))
    verdict, summary = found.verdict(f"on {listed(models)}" if asked.stand_in else "here")
    return Report(
        schema=SCHEMA,
        version=__version__,
        verdict=verdict,
        summary=f"{summary} {asked.stand_in}".rstrip(),
        environment=environment,
        probes=found.probes,
        findings=found.findings,
        job=asked.job,
        notes=[*asked.notes, *planned.notes, *found.notes(), *notes, *remedies.unmet_pins(environment)],
        seconds=round(seconds, 2),
    )


def _not_judged(asked: Wanted, environment: Environment, seconds: float) -> Report:
    """The report on a job of which nothing can be said: what can be tried here is not what checkpoints it."""
    title = "This job's checkpointing is not judged"
    detail = " ".join(asked.unjudged)
    return Report(
        schema=SCHEMA,
        version=__version__,
        verdict="error",
        summary=f"{title}: {detail}",
        environment=environment,
        probes=[],
        findings=[
            Finding(rule=NOT_DIAGNOSED, name="not-diagnosed", severity="error", title=title, detail=detail, probes=[])
        ],
        job=asked.job,
        notes=[*asked.notes, *remedies.unmet_pins(environment)],
        seconds=round(seconds, 2),
    )


def _own_files(found: findings.Found) -> list[str]:
    """Files that were read beside modules: the user's own checkpoint functions."""
    return [one.evidence.loaded.place.file for one in found.probes if one.evidence.loaded]


def _cores() -> int:
    available = getattr(os, "sched_getaffinity", None)
    return max(len(available(0)) if available else os.cpu_count() or 1, 1)
