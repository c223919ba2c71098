"""What is asked of the doctor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from ckptdoctor.errors import UsageFault
from ckptdoctor.evidence import Environment
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
        verify: Try every remedy, and drop those that do not help.
        job: A job file, to probe that very job; empty for the environment.
    """

    python: str | None = None
    requirements: Sequence[str] = ()
    with_dependencies: bool = False
    options: Options = field(default_factory=Options)
    workers: int = 0
    use_cache: bool = True
    find_remedies: bool = True
    verify: bool = False
    job: str = ""


class Wanted(NamedTuple):
    """What is to be probed, and what the reader must know of how that was decided."""

    options: Options
    job: str = ""
    """The job in one line."""
    notes: tuple[str, ...] = ()


def wanted(request: Request, environment: Environment) -> Wanted:
    """What a request comes to in a target: what its options say, or what its job will do there.

    Beside a job's own engine the step is taken without one, to tell whose fault it is.

    Raises:
        UsageFault: The file is no job's, or what it says is said otherwise as well.
    """
    if not request.job:
        return Wanted(request.options)
    from ckptdoctor.job.reading import read
    from ckptdoctor.job.summary import summary

    options = request.options
    for name, said in (("--engine", options.engines), ("--checkpoint-fn", options.functions)):
        if said:
            raise UsageFault(f"{name} and --job both say what is to be probed.", f"leave {name} out: the job says it")
    found = read(request.job, {name: environment.version(name) for name in environment.stack})
    chosen = replace(
        options,
        models=options.models or ([found.model] if found.model else []),
        functions=found.functions if found.is_checkpointed else [NO_FUNCTION],
        engines=[found.engine],
        setup=found.setup,
        variants=not found.functions,
        beside=["none"],
    )
    return Wanted(chosen, summary(found), tuple(f"Not tried here: {one}" for one in found.untried))
