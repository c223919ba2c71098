"""What many diagnoses amount to: the map of which releases work together. The knowledge that is shipped is such maps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import msgspec

from ckptdoctor.model.evidence import Place
from ckptdoctor.model.report import Severity, Verdict
from ckptdoctor.model.sources import Source

SCHEMA = "ckptdoctor/map/1"
BISECTION = "ckptdoctor/bisection/1"

How = Literal["measured", "inferred"]


class Fault(msgspec.Struct, omit_defaults=True):
    """A finding, as far as it is the same wherever it is read: files are relative to the folder of packages."""

    rule: str
    severity: Severity
    title: str
    functions: list[str]
    """Checkpoint functions that it was found with."""
    culprit: Place | None = None
    passed_by: Place | None = None
    callable: str = ""
    """What was passed, e.g. ``functools.partial(Glm4DecoderLayer.__call__)``."""
    error: str = ""
    """The error in one line."""


class Judged(msgspec.Struct, omit_defaults=True):
    """One checkpoint function under one engine."""

    function: str
    verdict: Verdict
    engine: str = "none"
    rules: list[str] = []
    convention: str = ""
    """The calling convention seen."""
    why: str = ""
    """The error, or why it could not be judged, in one line."""
    forward_only: bool = False
    """It needs a GPU in backward, and the CPU stood in its place."""


class Run(msgspec.Struct, omit_defaults=True):
    """A combination that was run with real packages, or that could not be had."""

    stack: dict[str, str]
    """Releases of what was varied, by package; ``python`` and ``torch`` may be among them."""
    model: str
    """Model family, empty where it did not come to that."""
    verdict: Verdict
    summary: str
    """The verdict in one sentence; for ``error`` why it cannot be diagnosed."""
    functions: list[Judged] = []
    faults: list[Fault] = []
    packages: dict[str, str] = {}
    """Every package of the stack that was present, with its version."""
    date: str = ""
    """When it was run: YYYY-MM-DD."""
    here: bool = False
    """It was run on this machine, by ``known --extend``, and is not part of what is shipped."""


class Cell(msgspec.Struct, omit_defaults=True):
    """A combination of releases and its verdict."""

    stack: dict[str, str]
    model: str
    verdict: Verdict
    how: How
    run: int
    """Index of the run that was this combination, or that it is inferred from: one whose code that matters is the same."""
    unmet: list[str] = []
    """Declared requirements that it does not meet, e.g. ``llamafactory 0.9.2 requires transformers<=4.49.0``; empty as well
    where it is not known what its releases require."""


class Audit(msgspec.Struct, omit_defaults=True):
    """Inferred cells that were run after all."""

    cells: int
    disagreements: list[str] = []
    """One sentence each."""


class Map(msgspec.Struct):
    """Every combination of some releases, with the runs that the verdicts rest on."""

    schema: str
    version: str
    """Of ckptdoctor."""
    date: str
    python: str
    torch: str
    platform: str
    axes: dict[str, list[str]]
    """Releases by package, oldest first. Trainers are alternatives to each other; all else is combined with all else."""
    runs: list[Run]
    cells: list[Cell]
    requires: dict[str, dict[str, list[str]]] = {}
    """``Requires-Dist`` of each release of a trainer, as far as it is known and names a package of the stack."""
    files: dict[str, dict[str, dict[str, str]]] = {}
    """What tells the files of each release, by package, release and part: digests as ``ckptdoctor.knowledge.files`` makes
    them. Empty in a map that is not shipped."""
    audit: Audit | None = None
    notes: list[str] = []
    seconds: float = 0.0
    sources: dict[str, dict[str, Source]] = {}
    """Where the code of releases is from that are on no index, by package and release."""
    released: dict[str, dict[str, str]] = {}
    """The day on which each release came, by package, as far as an index says: YYYY-MM-DD."""

    def models(self) -> list[str]:
        """Model families of the cells, in the order in which they are met."""
        return list(dict.fromkeys(cell.model for cell in self.cells))

    def matching(self, stack: Mapping[str, str], model: str = "") -> Iterator[Cell]:
        """Cells whose stack holds the given releases."""
        for cell in self.cells:
            if stack.items() <= cell.stack.items() and model in ("", cell.model):
                yield cell

    def run_of(self, cell: Cell) -> Run:
        """What a cell's verdict rests on."""
        return self.runs[cell.run]


class Line(msgspec.Struct):
    """Two releases between which the verdict changes, each with the run that shows it."""

    before: str
    """The last release on the one side, the older one."""
    after: str
    """The first release on the other side."""
    run_before: Run
    run_after: Run
    between: list[str] = []
    """Releases in between that could not be diagnosed."""

    @property
    def fixes(self) -> bool:
        """Whether the newer side is the one that works."""
        return self.run_after.verdict == "ok"


class Bisection(msgspec.Struct):
    """Where along the releases of a package the verdict changes."""

    schema: str
    version: str
    """Of ckptdoctor."""
    date: str
    python: str
    torch: str
    platform: str
    axis: str
    releases: list[str]
    """Those that were searched, oldest first."""
    stack: dict[str, str]
    """Releases that were the same all along."""
    lines: list[Line]
    runs: int
    """Combinations that the search looked at."""
    from_before: int
    """As many of them were known from earlier runs."""
    verdicts: dict[str, Verdict]
    """What is known of each release, measured or inferred from one with the same code."""
    measured: list[str]
    """Releases whose verdict was measured."""
    notes: list[str] = []
    seconds: float = 0.0
    sources: dict[str, dict[str, Source]] = {}
    """Where the code of releases is from that are on no index, by package and release."""
