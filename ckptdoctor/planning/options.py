"""What can be probed, and what the user wants to probe."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ckptdoctor import catalog
from ckptdoctor.model.evidence import Setup, Variant

OWN_MODEL = "tiny-glm4"

FALLBACK_FAMILIES = ("glm4", "glm", "llama")
"""Families to probe if the user names none: the first that the environment has. The fault was first seen with ``glm4``."""

TORCH = ("torch:non-reentrant", "torch:reentrant")

WRAPPER = "torch:wrapper"
"""FSDP's own activation checkpointing: each layer in torch's ``checkpoint_wrapper``, as accelerate applies it."""

NO_FUNCTION = "none"

ALL = "all"
"""In the place of an engine's name: every engine that the environment can run. Of a map's model: every family."""

COURSE: Variant = "course"
"""The variant in which a function takes many steps, on more layers."""

PERTURBED: Variant = "perturbed"
"""The variant in which layers get other values. It says nothing about whether a function works."""


@dataclass(frozen=True)
class Options:
    """What the user wants to probe; an empty choice means everything that matters in the environment."""

    models: Sequence[str] = ()
    functions: Sequence[str] = ()
    engines: Sequence[str] = ()
    conventions: Sequence[str] = ()
    timeout: float = 60.0
    """Seconds per probe."""
    setup: Setup = field(default_factory=Setup)
    """What a job does beside checkpointing."""
    ranks: int = 1
    """Processes of each probe under an engine that can have several; some engines always have two."""
    variants: bool = True
    """Whether a trainer's name includes the variants of its function."""
    thorough: bool = False
    """Whether all functions except torch's run the whole course, and all are tried under every engine."""
    leaves_unused: bool = False
    """The job's loss leaves parameters unused: an engine that does not look for them is no remedy."""
    packed: bool = False
    """A map tries packed sequences too, with torch's own non-reentrant function: do keyword arguments reach the layers?"""
    by_family: bool = False
    """The probes of a family share a process, which is several times as fast where there are hundreds of families."""
    beside: Sequence[str] = ()
    """Engines that are tried for comparison and do not count."""


def named_functions() -> tuple[str, ...]:
    """The checkpoint functions that have a name here; others are given by file or module."""
    return (*TORCH, WRAPPER, "deepspeed", *catalog.functions())


def is_torchs(function: str) -> bool:
    """Whether a checkpoint function is torch's own, whichever."""
    return function in (*TORCH, WRAPPER)


def shares_entry(function: str) -> bool:
    """Whether a function is entered through its trainer's first one: it is tried where it may differ from that."""
    found = catalog.functions().get(function)
    return found is not None and found.shares_entry


def ranks_of(engine: str, wanted: int) -> int:
    """In how many processes a probe under an engine is run, if the user wants so many."""
    record = catalog.engines()[engine].record
    return max(wanted, record.least_ranks) if record.ranks else 1


def in_the_wild() -> tuple[str, ...]:
    """The calling conventions that some release of transformers uses."""
    return tuple(name for name, one in catalog.conventions().items() if one.releases)


def first_of_all(functions: Iterable[str]) -> set[str]:
    """The functions that a remedy must fix: those with an entry of their own, where there are any."""
    found = set(functions)
    return {one for one in found if not shares_entry(one)} or found
