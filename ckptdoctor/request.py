"""What is asked of the doctor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ckptdoctor.errors import UsageFault
from ckptdoctor.plan import NO_FUNCTION, Options


@dataclass(frozen=True)
class Request:
    """What is to be diagnosed.

    Attributes:
        python: The target, as ``--python`` takes it; ``None`` for the active environment.
        requirements: What to lay over it.
        with_dependencies: Lay trainers in with their dependencies.
        options: What to probe.
        workers: Probes at a time in each lane; 0 for as many as there are cores.
        use_cache: Answer from the last run where nothing has changed.
        find_remedies: Look for what mends each finding, and try it where that can be done here.
        job: The job that is probed, in one line; empty where it is an environment.
        notes: What the reader must know of it, such as what of the job cannot be tried here.
    """

    python: str | None = None
    requirements: Sequence[str] = ()
    with_dependencies: bool = False
    options: Options = field(default_factory=Options)
    workers: int = 0
    use_cache: bool = True
    find_remedies: bool = True
    job: str = ""
    notes: Sequence[str] = ()


def for_job(request: Request, file: str) -> Request:
    """The same for one job: its model, its checkpoint function, its engine, its tuning.

    Beside the job's own engine the step is taken without one, to tell whose fault it is.

    Raises:
        UsageFault: The file is no job's, or what it says is said otherwise as well.
    """
    from ckptdoctor import job

    options = request.options
    for name, said in (("--engine", options.engines), ("--checkpoint-fn", options.functions)):
        if said:
            raise UsageFault(f"{name} and --job both say what is to be probed.", f"leave {name} out: the job says it")
    found = job.read(file)
    functions = found.functions if found.is_checkpointed else [NO_FUNCTION]
    chosen = replace(
        options,
        models=options.models or ([found.model] if found.model else []),
        functions=functions,
        engines=[found.engine],
        setup=found.setup,
        variants=not found.functions,
        beside=["none"],
    )
    untried = [f"Not tried here: {one}" for one in found.untried]
    return replace(request, options=chosen, job=job.summary(found), notes=untried)
