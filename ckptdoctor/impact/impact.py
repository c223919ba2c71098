"""The way through: what differs, what is run of it on both sides, what changed, who relies on that, and what fixes it."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ckptdoctor import catalog
from ckptdoctor.environment.index import Index
from ckptdoctor.environment.releases import Release
from ckptdoctor.environment.sources import Sources
from ckptdoctor.errors import UsageFault
from ckptdoctor.impact.comparison import Comparison
from ckptdoctor.impact.request import ImpactRequest
from ckptdoctor.matrix import axes
from ckptdoctor.matrix.run import index, opened, split, taking
from ckptdoctor.model.impact import Impact
from ckptdoctor.model.progress import SILENT, Progress


def impact(request: ImpactRequest, progress: Progress = SILENT) -> Impact:
    """Compare base and head.

    Args:
        request: What to compare.
        progress: Told how it goes on.

    Raises:
        UsageFault: They are not two releases of one package.
        DoctorError: One of them, or the target, cannot be had.
    """
    started = time.monotonic()
    sources = taking(request.options)
    options, named = split(request.options, sources)
    _require_trainers(options.options.functions, named)
    with index() as releases, opened(options, progress, sources) as measuring:
        progress("reading the index")
        sides = _sides(request, releases, sources)
        comparison = Comparison(request, options, named, sides, releases, measuring, sources, progress)
        comparison.run()
        found = comparison.as_impact()
    found.seconds = round(time.monotonic() - started, 2)
    return found


def _require_trainers(functions: Sequence[str], named: Sequence[str]) -> None:
    """Trainers' functions are tried with the releases of their trainer, so that one has to be named."""
    own = [one for one in functions if catalog.is_trainer(catalog.package_of(one)) and one in catalog.functions()]
    if own and not named:
        raise UsageFault(
            f"--checkpoint-fn {own[0]} is a trainer's.",
            f"name its release: --with {catalog.package_of(own[0])}==RELEASE",
        )


def _sides(request: ImpactRequest, releases: Index, sources: Sources) -> tuple[Release, Release]:
    base, head = (axes.parse([text], releases, sources=sources)[0] for text in (request.base, request.head))
    if base.name != head.name:
        raise UsageFault(
            f"--base is {base.name}, --head is {head.name}.", "name two releases or sources of one package"
        )
    if base.name == axes.PYTHON:
        raise UsageFault("Two versions of Python cannot be compared.", "vary it: ckptdoctor matrix --vary python")
    return base.releases[-1], head.releases[-1]
