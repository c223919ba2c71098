"""The request: what to diagnose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from msgspec import structs

from ckptdoctor import catalog
from ckptdoctor.errors import UsageFault
from ckptdoctor.model import pins
from ckptdoctor.model.evidence import Environment
from ckptdoctor.planning.options import NO_FUNCTION, Options

if TYPE_CHECKING:
    from ckptdoctor.job.format import Format
    from ckptdoctor.job.job import Job
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
    not_tried: tuple[str, ...] = ()
    """Parts of the job that are not tried."""
    how: str = ""
    """How the job's model is known, e.g. ``from the job's config.json``; empty where no job is probed."""
    stand_in: str = ""
    """The sentence that says that the job's own model is not tried, or may not be; empty if it is."""
    unjudged: tuple[str, ...] = ()
    """Why the job cannot be judged. Then nothing is run."""
    refused: tuple[str, ...] = ()
    """Why the job's trainer never starts it. Then nothing is run either."""
    family: str = ""
    """The job's model family, whether or not it is tried; empty where it is not known, or only guessed."""


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
    trainer = catalog.trainers().get(found.trainer)
    auto_classes = trainer.auto_classes_of(environment.version(found.trainer)) if trainer else ()
    chosen = replace(
        options,
        models=[model] if model else [],
        functions=options.functions or (found.functions if found.is_checkpointed else [NO_FUNCTION]),
        engines=[found.engine, *([found.on_several] if found.on_several else [])],
        setup=structs.replace(found.setup, auto_classes=auto_classes),
        variants=bool(options.functions) or not found.functions,
        beside=["none"],
        leaves_unused=found.leaves_unused,
    )
    notes: list[str] = []
    told = formats()[found.trainer]
    if not found.unjudged:
        notes += _unknown(found, told, environment)
    if options.functions:
        notes.append(
            "--checkpoint-fn was used instead of the job's own checkpoint function. The job's own was not tried."
        )
    unjudged = [*found.unjudged, *([] if given else lacking(found, environment))]
    stand_in = _stand_in(found, guessed) if told.names_model else ""
    how = found.how or f"{found.source} names no model"
    family = "" if found.doubt else given or found.family
    return ProbeRequest(
        options=chosen,
        job=summary(found),
        notes=tuple(notes),
        not_tried=tuple(found.untried),
        how=how,
        stand_in=stand_in,
        unjudged=tuple(unjudged),
        refused=refused(found, environment),
        family=family,
    )


def _unknown(found: Job, told: Format, environment: Environment) -> list[str]:
    """Keys of the job, and of accelerate's configuration, that the installed releases do not know."""
    from ckptdoctor.job import launch

    known_by = [
        (told.package or told.name, told.on_unknown, told.refused(found.keys, environment)),
        ("accelerate", "rejects its configuration", launch.refused(found.launcher_keys, environment)),
    ]
    return [
        f"`{name}`: {package} {environment.version(package)} has no such argument and {does}."
        for package, does, names in known_by
        for name in names
    ]


def lacking(job: Job, environment: Environment) -> list[str]:
    """A sentence if the target's transformers does not have the family of a job's model; nothing else can be tried for it."""
    from ckptdoctor.job.families import first_release
    from ckptdoctor.job.releases import Releases

    installed = environment.version("transformers")
    if not job.family or not installed or job.family in environment.families:
        return []
    first = first_release(job.family)
    is_there = Releases({"transformers": installed}).is_from("transformers", first) if first else None
    if is_there or (job.model and is_there is None):
        return []  # a part of another family, or unknown here: transformers itself says whether it has it
    since = f"; transformers has it from {first} on" if first else ""
    known = f" ({job.how})" if job.how else ""
    return [f"transformers {installed} has no model family '{job.family}', which is the job's{known}{since}."]


def refused(job: Job, environment: Environment) -> tuple[str, ...]:
    """Sentences if the job's trainer does not start it with the installed releases, whatever is set."""
    used = catalog.checked_if_used() & set(job.keys)
    return tuple(
        f"{one.whole(environment)}. Install another release of {one.requirement.name} or of {one.who}."
        for one in pins.blocking(environment, used)
        if one.who == job.trainer
    )


def _stand_in(job: Job, tried: str) -> str:
    """That the job's own model is not tried, or that nobody knows whether it is; empty if it is tried."""
    if job.how and not job.doubt and (job.model or job.family == tried or job.how == "given with --model"):
        return ""
    name = f", {job.model_name}," if job.model_name else ""
    own = f"The job's own model{name} was not tried."
    if not name and not job.model:
        own = "The job names no model, so its own was not tried."
    return " ".join(filter(None, [own, job.doubt, "Give its family or its folder with --model."]))
