"""Words that every report has: a name that is one of them is replaced only where it can be nothing else."""

from __future__ import annotations

import re

from ckptdoctor import catalog

SHORTEST_SECRET = 8

SHORTEST_NAME = 3

SHORTEST_PART = 6
"""A name of so many characters is replaced inside longer words too."""

_WORDS = (
    "admin administrator adam alpha amd app apps attention auto backward base batch bench beta bin build builder "
    "cache checkpoint checkpointing ci cloud cluster code conda config container core cpu cuda data debian debug deepspeed "
    "default demo dev docker engine env error ec2 file fire forward function gemma git github gitlab glm gpu gradient guest "
    "home host huggingface index job jupyter kernel lab layer layers lib linux llama local localhost lora loss "
    "machine main mask master max message mistral model models module name net nobody node none notebook null nvidia oracle "
    "package packages partial path peft phi pip pod post probe process project proxy pypi python pytorch qwen ray report "
    "repro root rule run runner sandbox server service shared slurm stack state step sys system tensor test tester tests "
    "tiny token torch train trainer training transformers trl tune ubuntu user username users vagrant var venv "
    "version virtual vm windows work worker workspace zero"
)

COMMON = frozenset({*_WORDS.split(), *catalog.trainers()})
"""Names of users and machines that are words of every report: they are replaced only where they can be nothing else."""


def is_word(name: str, vocabulary: frozenset[str]) -> bool:
    """Whether a name is a word of every report, or too short to tell."""
    return len(name) < SHORTEST_NAME or name.lower() in COMMON or name.lower() in vocabulary or name.isdigit()


def is_made_of(name: str, vocabulary: frozenset[str]) -> bool:
    """Whether every part of a name is a word that the report has anyway."""
    return (
        all(part in vocabulary for part in re.split(r"[-_. /]+", name.lower()))
        or re.sub(r"[-_.]", "", name.lower()) in vocabulary
    )
