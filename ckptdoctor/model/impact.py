"""What a change of a package does to checkpointing: only what differs between its two sides."""

from __future__ import annotations

from typing import Literal

import msgspec

from ckptdoctor.model.compatibility import Fault, How
from ckptdoctor.model.evidence import Place
from ckptdoctor.model.exit_status import ExitStatus
from ckptdoctor.model.report import Remedy, Verdict
from ckptdoctor.model.scan import Certainty
from ckptdoctor.model.sources import Source, own_version

SCHEMA = "ckptdoctor/impact/1"

Kind = Literal["broken", "warned", "working", "cleared", "otherwise"]
"""``broken``: works on the base, fails on the head; ``warned``: works on both, with a warning only on the head;
``working`` and ``cleared``: the other way round; ``otherwise``: fails on both, by other rules."""

KINDS: tuple[Kind, ...] = ("broken", "warned", "otherwise", "working", "cleared")
"""In the order in which they are shown."""


Watched = Literal["callable", "keywords", "forward", "hooks", "returns", "switch"]
"""What trainers rely on in transformers: the kind of callable that is passed to the checkpoint function, the names of the
keyword arguments that layers get, who owns a layer's ``forward``, whether a layer's hooks run in recomputation, what layers
return, and how checkpointing is switched on."""


class Side(msgspec.Struct, omit_defaults=True):
    """One side of the change."""

    release: str
    """That of code which is from no index ends with a mark of its content."""
    source: Source | None = None
    """Where it is from, if not from an index."""

    @property
    def label(self) -> str:
        """For people: ``5.24.0.dev0 (./transformers)``."""
        return f"{own_version(self.release)} ({self.source.text})" if self.source else self.release


class Outcome(msgspec.Struct, omit_defaults=True):
    """How a checkpoint function went on one side."""

    verdict: Verdict
    how: How
    faults: list[Fault] = []
    """Those that are not on the other side as well."""
    callable: str = ""
    """What the model passes to the checkpoint function."""
    passed_by: Place | None = None
    """The line that passes it."""

    @property
    def error(self) -> str:
        """The first error that was raised; empty: nothing was, if it fails, it fails silently."""
        return next((one.error for one in self.faults if one.error), "")


class Change(msgspec.Struct, omit_defaults=True):
    """Checkpoint functions that go otherwise on the head than on the base, in the same way."""

    kind: Kind
    functions: list[str]
    stack: dict[str, str]
    """Releases of what it was tried with, by package; empty for torch's own functions."""
    models: list[str]
    """Model families, or our own model's calling conventions."""
    base: Outcome
    head: Outcome
    engine: str = "none"
    trainer_switches_on: bool = False
    """transformers' Trainer switches checkpointing on too, by its own call, as in jobs that say so."""
    unmet: list[str] = []
    """Declared requirements that the head does not meet, e.g. ``axolotl 0.21.0 requires transformers==5.20.1``."""
    required: bool = True
    """It is known what the releases require."""
    remedies: list[Remedy] = []
    unsearched: str = ""
    """Why there is no remedy; empty: there is one, or nothing needs one."""
    command: str = ""
    """Tries it again on the head."""

    @property
    def admitted(self) -> bool:
        """Whether the releases themselves admit the combination."""
        return not self.unmet

    @property
    def rules(self) -> list[str]:
        """Of its faults: the head's, and the base's if they are gone."""
        faults = self.head.faults or self.base.faults
        return list(dict.fromkeys(one.rule for one in faults))


class Reliance(msgspec.Struct, omit_defaults=True):
    """A line of a trainer that relies on a contract: read, not run."""

    package: str
    release: str
    place: Place
    title: str
    certainty: Certainty
    breaks: str = ""
    """What goes wrong on the head and not on the base, as far as the code says; empty: nothing does."""


class ContractChange(msgspec.Struct, omit_defaults=True):
    """Something that trainers rely on and that is not the same on the head."""

    watched: Watched
    base: str
    head: str
    models: list[str]
    relied: list[Reliance] = []

    @property
    def trainers(self) -> list[str]:
        """Packages that rely on it."""
        return list(dict.fromkeys(one.package for one in self.relied))


class NotCompared(msgspec.Struct):
    """What could not be run on a side, so that nothing is known of the change."""

    why: str
    side: Literal["base", "head", "base and head"]
    what: list[str]
    """Combinations, for people."""


class Impact(msgspec.Struct, omit_defaults=True):
    """What a change does."""

    schema: str
    version: str
    """Of ckptdoctor."""
    date: str
    python: str
    torch: str
    platform: str
    package: str
    base: Side
    head: Side
    files: list[str]
    """Files of which code differs, as far as they were compared one by one."""
    families: list[str]
    """Model families whose code that matters differs, for transformers; else those that were tried."""
    tried: dict[str, list[str]]
    """Releases of other packages that were tried with both sides."""
    compared: int
    """Checkpointed steps that were judged on both sides, each of one function with one model."""
    changes: list[Change]
    contracts: list[ContractChange]
    not_compared: list[NotCompared]
    ran: int = 0
    """Combinations that were run now; others are known from before, or inferred."""
    notes: list[str] = []
    seconds: float = 0.0

    def of_kind(self, kind: Kind) -> list[Change]:
        """Changes of a kind, those first that the releases' own requirements admit."""
        return sorted((one for one in self.changes if one.kind == kind), key=lambda one: not one.admitted)

    @property
    def status(self) -> ExitStatus:
        """1 if something is newly broken; 3 if nothing could be compared although code differs; else 0."""
        if self.of_kind("broken"):
            return ExitStatus.FOUND
        return ExitStatus.UNDIAGNOSED if self.not_compared and not self.compared else ExitStatus.OK
