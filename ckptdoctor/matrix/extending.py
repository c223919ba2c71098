"""Measures what the knowledge lacks: releases that came since, or those of a question. What is known is not run again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from ckptdoctor import catalog, knowledge
from ckptdoctor.environment.index import Index
from ckptdoctor.environment.releases import Release
from ckptdoctor.errors import TargetError
from ckptdoctor.knowledge import layers
from ckptdoctor.matrix import released_files
from ckptdoctor.matrix.axes import Axis, is_pinned
from ckptdoctor.matrix.combination import Combination, combine
from ckptdoctor.matrix.measuring import Measuring
from ckptdoctor.matrix.reading_code import read_fingerprints
from ckptdoctor.matrix.request import MatrixRequest
from ckptdoctor.matrix.run import Work, index, opened, taking
from ckptdoctor.model.compatibility import Cell, Map, Run
from ckptdoctor.model.progress import SILENT, Progress
from ckptdoctor.planning.options import FALLBACK_FAMILIES, Options

MODEL_LIBRARY = "transformers"

ADDED = ("accelerate",)
"""What checkpoint functions need beside transformers."""

OPTIONS = Options(models=FALLBACK_FAMILIES)
"""What the map of trainers is measured with."""

FEW = 12
"""So many combinations are run sooner than the code of all releases is read, from which some might be inferred."""

Wanted = Mapping[str, SpecifierSet]
"""Releases that somebody asks for, by package; all packages without any."""


@dataclass(frozen=True)
class Extended:
    """What was added to the knowledge.

    Attributes:
        added: The new combinations with their runs; nothing in it if nothing was missing.
        failed: Those that could not be diagnosed here, which are not added: in words, each with the reason.
        ran: Combinations that were run for it.
    """

    added: Map
    failed: tuple[str, ...] = ()
    ran: int = 0


def extend(wanted: Wanted, python: str | None = None, jobs: int = 0, progress: Progress = SILENT) -> Extended:
    """Judge the combinations of releases that are asked for and not known yet.

    Args:
        wanted: Releases by package. Without any, all known ones and those that came since.
        python: The target, which has torch.
        jobs: Environments at a time; 0 for as many as this machine allows.
        progress: Told how it goes on.

    Raises:
        DoctorError: The index or the target is missing.
    """
    known = knowledge.load()
    with index() as releases:
        progress("reading the index")
        asked = _axes(wanted, known, releases)
        missing = _missing(asked, known)
        if not missing:
            return Extended(layers.part(known, []))
        return _measured(missing, known, releases, MatrixRequest((), python, ADDED, OPTIONS, jobs=jobs), progress)


def keep(found: Extended, file: str = knowledge.TRAINERS_FILE) -> str:
    """Add what was measured to what earlier calls measured here; the file that it is kept in.

    Args:
        found: What was measured.
        file: The shipped map that it adds to.

    Raises:
        OSError: It cannot be written.
    """
    earlier = layers.own(file)
    whole = layers.together(found.added, earlier) if earlier else found.added
    path = layers.keep(file, whole)
    knowledge.load.cache_clear()
    return str(path)


def _axes(wanted: Wanted, known: Map, releases: Index) -> dict[str, list[str]]:
    """The releases that are asked for, as far as the index has them."""
    trainers = [name for name in known.axes if catalog.is_trainer(name)]
    named = [name for name in trainers if name in wanted] or trainers
    return {
        name: [
            one.version
            for one in releases.releases(name)
            if is_asked(one, wanted.get(name, SpecifierSet()), known.axes[name])
        ]
        for name in (MODEL_LIBRARY, *named)
    }


def is_asked(release: Release, specifier: SpecifierSet, known: Sequence[str]) -> bool:
    """Whether a release is meant: one that is named; in a range from the oldest known one on; or else known or newer."""
    if is_pinned(specifier):
        return specifier.contains(release.parsed, prereleases=True)
    if release.version in known:
        return specifier.contains(release.parsed, prereleases=True)
    since = Version(known[0] if specifier else known[-1])
    usual = not release.parsed.is_prerelease and not release.yanked
    return usual and release.parsed > since and specifier.contains(release.parsed)


def _missing(asked: Mapping[str, Iterable[str]], known: Map) -> set[Combination]:
    """Combinations that are asked for and not in the map; a family that a release lacks is missing as well until it is read."""
    there = {(frozenset(cell.stack.items()), cell.model) for cell in known.cells}
    lacking = _lacking(known)
    return {
        one
        for one in combine(asked, OPTIONS.models)
        if (frozenset(one.releases), one.model) not in there and (one.stack[MODEL_LIBRARY], one.model) not in lacking
    }


def _lacking(known: Map) -> set[tuple[str, str]]:
    """Releases of transformers that were measured with some families, each with the families that they then lack."""
    there: dict[str, set[str]] = {}
    for cell in known.cells:
        there.setdefault(cell.stack[MODEL_LIBRARY], set()).add(cell.model)
    return {(release, model) for release, models in there.items() for model in set(OPTIONS.models) - models}


def _measured(
    missing: Collection[Combination], known: Map, releases: Index, request: MatrixRequest, progress: Progress
) -> Extended:
    runs = {_combination(run): run for run in known.runs} if len(missing) > FEW else {}
    names = [MODEL_LIBRARY, *(name for name in known.axes if name != MODEL_LIBRARY)]
    used = {pair for one in (*missing, *runs) for pair in one.releases}
    found = [_axis(name, lambda release: (release.name, release.version) in used, releases) for name in names]
    found = [axis for axis in found if axis.releases]
    with opened(request, progress, taking(request)) as measuring:
        require_torch(measuring)
        fingerprints = read_fingerprints(found, request, releases, progress)
        work = Work(found, fingerprints, request, measuring, runs, missing.__contains__)
        work.run()
        made = extended(work, measuring, missing.__contains__, runs)
    return replace(made, added=released_files.complete(made.added, releases))


def require_torch(measuring: Measuring) -> None:
    """Fail before anything is installed if nothing could be run.

    Raises:
        TargetError: The target has no torch.
    """
    if not measuring.target.version("torch"):
        where = measuring.target.executable
        raise TargetError(f"torch is not installed for {where}.", "name a Python that has torch: --python PATH")


def _axis(name: str, is_used: Callable[[Release], bool], releases: Index) -> Axis:
    return Axis(name, tuple(filter(is_used, releases.releases(name))))


def _combination(run: Run) -> Combination:
    """As ``combine`` makes it: transformers first."""
    first = {MODEL_LIBRARY: run.stack[MODEL_LIBRARY]}
    return Combination(tuple({**first, **run.stack}.items()), run.model)


def extended(
    work: Work, measuring: Measuring, is_new: Callable[[Combination], bool], earlier: Mapping[Combination, Run]
) -> Extended:
    """The new part of a map, its runs marked.

    What could not be diagnosed is left out, and what ran out of time or crashed: it may be the machine's doing, and the store
    keeps nothing of it either.

    Args:
        work: What was run.
        measuring: What ran it.
        is_new: Which combinations are asked for.
        earlier: Runs that were known.
    """
    made = work.as_map()
    fresh = {one: run for one, run in work.runs.items() if one not in earlier}
    lasting = measuring.recall(list(fresh))
    lost = {id(run) for one, run in fresh.items() if one not in lasting or run.verdict == "error"}
    cells = [cell for cell in made.cells if is_new(Combination(tuple(cell.stack.items()), cell.model))]
    failed = tuple(_in_words(cell, made.run_of(cell)) for cell in cells if id(made.run_of(cell)) in lost)
    cells = [cell for cell in cells if id(made.run_of(cell)) not in lost and cell.verdict != "error"]
    marked = set(map(id, fresh.values()))
    runs = [msgspec.structs.replace(run, here=True) if id(run) in marked else run for run in made.runs]
    made = msgspec.structs.replace(made, runs=runs, audit=None, notes=[])
    return Extended(layers.part(made, cells), failed, measuring.ran)


def _in_words(cell: Cell, run: Run) -> str:
    stack = " and ".join(f"{name} {release}" for name, release in cell.stack.items())
    return f"{stack} ({cell.model}): {run.summary}"
