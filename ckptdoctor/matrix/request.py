"""What a matrix or a bisection is to judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ckptdoctor.errors import UsageFault
from ckptdoctor.matrix import sharding
from ckptdoctor.matrix.axes import Every
from ckptdoctor.matrix.sharding import Shard
from ckptdoctor.planning.options import Options


@dataclass(frozen=True)
class MatrixRequest:
    """What a matrix or a bisection is to judge, and how.

    Attributes:
        vary: A requirement for each axis; the same package again adds to its axis.
        python: The target, as ``--python`` takes it.
        requirements: What is added to every combination.
        options: What to probe; without engines, none wraps the model.
        every: Which releases of an axis to keep: the last of each patch, minor or major version; none for all.
        pre: Pre-releases too.
        yanked: Yanked releases too.
        exhaustive: Run every combination.
        audit: How many inferred combinations to run after all, to see whether they agree.
        seed: Decides which.
        jobs: Environments at a time; 0 for as many as this machine allows.
        store: Where results are kept.
        refresh: Run again what the store knows.
        shard: The part that is run; none for all.
        cluster: The address of the Ray cluster that runs it, empty for the one that is running here; none for this machine.
    """

    vary: Sequence[str]
    python: str | None = None
    requirements: Sequence[str] = ()
    options: Options = field(default_factory=Options)
    every: Every | None = None
    pre: bool = False
    yanked: bool = False
    exhaustive: bool = False
    audit: int = 0
    seed: int = 0
    jobs: int = 0
    store: Path | None = None
    refresh: bool = False
    shard: Shard | None = None
    cluster: str | None = None


def build(
    *,
    vary: Sequence[str] = (),
    python: str | None = None,
    requirements: Sequence[str] = (),
    models: Sequence[str] = (),
    functions: Sequence[str] = (),
    engines: Sequence[str] = (),
    timeout: float = 60.0,
    every: Every | None = None,
    pre: bool = False,
    yanked: bool = False,
    exhaustive: bool = False,
    audit: int = 0,
    seed: int = 0,
    jobs: int | None = None,
    store: str | None = None,
    refresh: bool = False,
    shard: str | None = None,
    executor: str = "local",
) -> MatrixRequest:
    """A request from what the command line takes, by the names of its options."""
    return MatrixRequest(
        vary=vary,
        python=python,
        requirements=requirements,
        options=Options(models, functions, engines, timeout=timeout),
        every=every,
        pre=pre,
        yanked=yanked,
        exhaustive=exhaustive,
        audit=audit,
        seed=seed,
        jobs=jobs or 0,
        store=Path(store) if store else None,
        refresh=refresh,
        shard=sharding.parse(shard) if shard else None,
        cluster=_cluster(executor),
    )


def _cluster(executor: str) -> str | None:
    """The address in ``ray=ADDRESS``; none for ``local``.

    Raises:
        UsageFault: It is neither.
    """
    name, _, address = executor.partition("=")
    if name not in ("local", "ray") or (name == "local" and address):
        raise UsageFault(f"'{executor}' is no executor.", "write --executor ray, --executor ray=HOST:PORT, or local")
    return address if name == "ray" else None
