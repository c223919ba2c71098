"""The request: what to diagnose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from ckptdoctor.errors import UsageFault
from ckptdoctor.model.evidence import Environment
from ckptdoctor.planning.options import NO_FUNCTION, Options

if TYPE_CHECKING:
    from ckptdoctor.job.reading import JobFile


@dataclass(frozen=True)
class Request:
    """What to diagnose.

    Attributes:
        python: The target, as ``--python`` takes it; ``None`` for the active environment.
        requirements: Packages to add to the overlay.
        with_dependencies: Add trainers to the overlay with their dependencies.
        options: What to probe.
        at_once: Probes at a time in each worker; 0 for one per core.
        use_cache: Use the last report if nothing has changed.
        find_remedies: Look for remedies for each finding, and try them if possible.
        verify: Try every remedy, and drop remedies that do not help.
        job: The files of a job, to probe this job; none for the environment.
    """

    python: str | None = None
    requirements: Sequence[str] = ()
    with_dependencies: bool = False
    options: Options = field(default_factory=Options)
    at_once: int = 0
    use_cache: bool = True
    find_remedies: bool = True
    verify: bool = False
    job: Sequence[str] = ()


def build(
    *,
    python: str | None = None,
    requirements: Sequence[str] = (),
    with_deps: bool = False,
    job: Sequence[str] = (),
    models: Sequence[str] = (),
    functions: Sequence[str] = (),
    engines: Sequence[str] = (),
    conventions: Sequence[str] = (),
    timeout: float = 60.0,
    nproc: int = 1,
    thorough: bool = False,
    jobs: int | None = None,
    use_cache: bool = True,
    find_remedies: bool = True,
    verify: bool = False,
) -> Request:
    """A request from the options of the command line and of the Python interface."""
    return Request(
        python=python,
        requirements=requirements,
        with_dependencies=with_deps,
        options=Options(models, functions, engines, conventions, timeout, ranks=nproc, thorough=thorough),
        at_once=jobs or 0,
        use_cache=use_cache,
        find_remedies=find_remedies,
        verify=verify,
        job=tuple(job),
    )


class ProbeRequest(NamedTuple):
    """What to probe in a target, and what the reader must know about the choice."""

    options: Options
    job: str = ""
    """The job in one line."""
    notes: tuple[str, ...] = ()
    stand_in: str = ""
    """The sentence that says that another model was used instead of the job's; empty if the job's model is tried."""
    unjudged: tuple[str, ...] = ()
    """Why the job cannot be judged. Then nothing is run."""


def probe_request(request: Request, job: JobFile | None, environment: Environment) -> ProbeRequest:
    """What to probe for a request: what its options say, or what its job will do in the target.

    The step is also run without an engine, to find out whether the engine is the cause.

    Args:
        request: What is to be diagnosed.
        job: The job file that it names, as read.
        environment: The target.

    Raises:
        UsageFault: The file is not a job file, or options contradict the job.
    """
    if job is None:
        engines = request.options.engines
        alone = [] if not engines or "none" in engines else ["none"]
        return ProbeRequest(replace(request.options, beside=[*request.options.beside, *alone]))
    from ckptdoctor.job.families import with_targets
    from ckptdoctor.job.formats import formats
    from ckptdoctor.job.models import Choice
    from ckptdoctor.job.summary import summary

    options = request.options
    if options.engines:
        raise UsageFault("--engine cannot be combined with --job.", "leave --engine out: the job sets the engine")
    if len(options.models) > 1:
        raise UsageFault("--model is given several times, but a job has one model.", "give --model once")
    given = options.models[0] if options.models else ""
    versions = {name: environment.version(name) for name in environment.stack}
    found = job.interpreted(versions, Choice(given, environment.families))
    guessed = found.family if found.family in environment.families else ""
    guessed = guessed or with_targets(found.setup.lora_targets, environment.families)
    model = given or found.model or guessed
    chosen = replace(
        options,
        models=[model] if model else [],
        functions=options.functions or (found.functions if found.is_checkpointed else [NO_FUNCTION]),
        engines=[found.engine],
        setup=found.setup,
        variants=bool(options.functions) or not found.functions,
        beside=["none"],
    )
    notes = [f"Not tried: {one}" for one in found.untried]
    told = formats()[found.trainer]
    if not found.unjudged:
        release = f"{found.trainer} {environment.version(found.trainer)}"
        refused = told.refused(found.keys, environment)
        notes += [f"`{name}`: {release} has no such argument and rejects the job." for name in refused]
    if options.functions:
        notes.append(
            "--checkpoint-fn was used instead of the job's own checkpoint function. The job's own was not tried."
        )
    is_own = bool(given or found.model) or not told.names_model
    stand_in = "" if is_own else _stand_in(found.model_name)
    return ProbeRequest(chosen, summary(found), tuple(notes), stand_in, tuple(found.unjudged))


def _stand_in(name: str) -> str:
    own = (
        f"The job's own model, {name}, was not tried." if name else "The job names no model, so its own was not tried."
    )
    return f"{own} Give its family or its folder with --model."
