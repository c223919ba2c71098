"""What is asked of the doctor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ckptdoctor.plan import Options


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
    """

    python: str | None = None
    requirements: Sequence[str] = ()
    with_dependencies: bool = False
    options: Options = field(default_factory=Options)
    workers: int = 0
    use_cache: bool = True
    find_remedies: bool = True
