"""What is asked of the doctor."""

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
    """What is to be diagnosed.

    Attributes:
        python: The target, as ``--python`` takes it; ``None`` for the active environment.
        requirements: What to lay over it.
        with_dependencies: Lay trainers in with their dependencies.
        options: What to probe.
        at_once: Probes at a time in each worker; 0 for as many as there are cores.
        use_cache: Answer from the last run where nothing has changed.
        find_remedies: Look for what fixes each finding, and try it where that can be done here.
        verify: Try every remedy, and drop those that do not help.
        job: A job file, to probe that very job; ``None`` for the environment.
    """

    python: str | None = None
    requirements: Sequence[str] = ()
    with_dependencies: bool = False
    options: Options = field(default_factory=Options)
    at_once: int = 0
    use_cache: bool = True
    find_remedies: bool = True
    verify: bool = False
    job: str | None = None


def build(
    *,
    python: str | None = None,
    requirements: Sequence[str] = (),
    with_deps: bool = False,
    job: str | None = None,
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
    """A request from what the command line and the Python interface take, by their names."""
    return Request(
        python=python,
        requirements=requirements,
        with_dependencies=with_deps,
        options=Options(models, functions, engines, conventions, timeout, ranks=nproc, thorough=thorough),
        at_once=jobs or 0,
        use_cache=use_cache,
        find_remedies=find_remedies,
        verify=verify,
        job=job,
    )


class ProbeRequest(NamedTuple):
    """What is to be probed in a target, and what the reader must know of how that was decided."""

    options: Options
    job: str = ""
    """The job in one line."""
    notes: tuple[str, ...] = ()
    stand_in: str = ""
    """Where another model stands in for the job's: the sentence that says so; empty where the job's own is tried."""
    unjudged: tuple[str, ...] = ()
    """Why nothing of the job can be judged, and so nothing is run."""


def probe_request(request: Request, job: JobFile | None, environment: Environment) -> ProbeRequest:
    """What a request comes to in a target: what its options say, or what its job will do there.

    Beside the engines that are asked for the step is taken without one, to tell whose fault it is.

    Args:
        request: What is to be diagnosed.
        job: The job file that it names, as read.
        environment: The target.

    Raises:
        UsageFault: The file is no job's, or what it says is said otherwise as well.
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
        raise UsageFault("--engine and --job both say what is to be probed.", "leave --engine out: the job says it")
    if len(options.models) > 1:
        raise UsageFault("A job has one model, and --model is given several times.", "give --model once")
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
    notes = [f"Not tried here: {one}" for one in found.untried]
    told = formats()[found.trainer]
    if not found.unjudged:
        release = f"{found.trainer} {environment.version(found.trainer)}"
        refused = told.refused(found.keys, environment)
        notes += [f"`{name}`: {release} has no such argument, and refuses the job." for name in refused]
    if options.functions:
        notes.append("--checkpoint-fn takes the place of the job's own checkpoint function, which was not tried.")
    is_own = bool(given or found.model) or not told.names_model
    stand_in = "" if is_own else _stand_in(found.model_name)
    return ProbeRequest(chosen, summary(found), tuple(notes), stand_in, tuple(found.unjudged))


def _stand_in(name: str) -> str:
    own = f"The job's own model, {name}, was" if name else "The job names no model; its own was"
    return f"{own} not tried: give its family or its folder with --model."
