"""Measures model families in releases of transformers that the map of families lacks, with torch's own functions."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from packaging.specifiers import SpecifierSet

from ckptdoctor import knowledge
from ckptdoctor.environment.index import Index
from ckptdoctor.knowledge import layers
from ckptdoctor.matrix.axes import Axis
from ckptdoctor.matrix.combination import Combination
from ckptdoctor.matrix.extending import MODEL_LIBRARY, Extended, extended, is_asked, require_torch
from ckptdoctor.matrix.reading_code import of_all_families, read_fingerprints
from ckptdoctor.matrix.request import MatrixRequest
from ckptdoctor.matrix.run import Work, index, opened, taking
from ckptdoctor.model.compatibility import Map
from ckptdoctor.model.progress import SILENT, Progress
from ckptdoctor.planning.options import ALL, TORCH, Options

OPTIONS = Options(functions=TORCH)
"""What the map is measured with, but for the families."""


def extend(
    family: str, releases: SpecifierSet, python: str | None = None, jobs: int = 0, progress: Progress = SILENT
) -> Extended:
    """Judge a family, or all, in the releases that are asked for and not known yet.

    Of all families, those whose code is that of the newest release in the map are inferred from it.

    Args:
        family: The model family, or ``all``.
        releases: Releases that are asked for; empty for those that came since.
        python: The target, which has torch.
        jobs: Environments at a time; 0 for as many as this machine allows.
        progress: Told how it goes on.

    Raises:
        DoctorError: The index or the target is missing.
    """
    known = knowledge.load(knowledge.FAMILIES_FILE)
    with index() as found:
        progress("reading the index")
        new = _new(family, releases, known, found)
        if not new:
            return Extended(layers.part(known, []))
        request = MatrixRequest((), python, (), replace(OPTIONS, models=(family,)), jobs=jobs)
        return _measured(new, known, found, request, progress)


def _new(family: str, releases: SpecifierSet, known: Map, found: Index) -> set[str]:
    """The releases that are asked for and were not measured with the family; one that ships was, with all that it has."""
    there = {*knowledge.shipped(knowledge.FAMILIES_FILE).axes[MODEL_LIBRARY]}
    if family == ALL:
        count = Counter(cell.stack[MODEL_LIBRARY] for cell in known.cells)
        there |= {release for release in count if 2 * count[release] > max(count.values())}
    else:
        there |= {cell.stack[MODEL_LIBRARY] for cell in known.cells if cell.model == family}
    asked = (one for one in found.releases(MODEL_LIBRARY) if is_asked(one, releases, known.axes[MODEL_LIBRARY]))
    return {one.version for one in asked} - there


def _measured(new: set[str], known: Map, found: Index, request: MatrixRequest, progress: Progress) -> Extended:
    is_all = ALL in request.options.models
    last = knowledge.shipped(knowledge.FAMILIES_FILE).axes[MODEL_LIBRARY][-1] if is_all else ""
    axis = Axis(MODEL_LIBRARY, tuple(one for one in found.releases(MODEL_LIBRARY) if one.version in {*new, last}))
    runs = {
        Combination(((MODEL_LIBRARY, last),), cell.model): known.run_of(cell)
        for cell in known.cells
        if cell.stack[MODEL_LIBRARY] == last
    }

    def is_new(one: Combination) -> bool:
        return one.stack[MODEL_LIBRARY] in new

    with opened(request, progress, taking(request)) as measuring:
        require_torch(measuring)
        fingerprints = read_fingerprints([axis], request, found, progress)
        if is_all:
            request = of_all_families(request, fingerprints)
            measuring.options = request.options
        work = Work([axis], fingerprints, request, measuring, runs, is_new)
        work.run()
        return extended(work, measuring, is_new, runs)
