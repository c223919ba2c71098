"""A job as it was read."""

from __future__ import annotations

import msgspec

from ckptdoctor.model.evidence import Setup


class Job(msgspec.Struct):
    """A training job: the settings that matter for checkpointing."""

    source: str
    """The file, as given."""
    trainer: str
    """``llamafactory``, ``axolotl``, ``transformers`` or ``deepspeed``."""
    model: str = ""
    """A folder with a ``config.json``; empty where the job names none that is on this machine."""
    model_name: str = ""
    """What the job calls a model whose configuration is not on this machine; empty where it names none, or it is here."""
    family: str = ""
    """The model's family; guessed from its name where ``model`` is empty, and empty where that tells nothing."""
    functions: list[str] = []
    """The checkpoint functions that the job will use, as ``plan.NAMED_FUNCTIONS`` names them; empty: the target's own."""
    engine: str = "none"
    """As ``--engine`` takes it."""
    is_checkpointed: bool = True
    """False: the job switches checkpointing off, or trains nothing."""
    setup: Setup = Setup()
    untried: list[str] = []
    """Settings of the job that matter for checkpointing and cannot be tried, one sentence each."""
    unjudged: list[str] = []
    """Why the job's checkpointing cannot be judged, one sentence each: a mechanism that cannot be tried does it."""
    keys: list[str] = []
    """The names of its settings, those that may be shown."""
    launcher_keys: list[str] = []
    """The same of accelerate's configuration."""
    how: str = ""
    """How the family is known, for a reader: ``from the job's config.json``."""
    doubt: str = ""
    """Why the family may not be the job's own, a whole sentence; empty where it is."""
    leaves_unused: bool = False
    """Its loss leaves parameters unused: DDP has to look for them."""
    on_several: str = ""
    """The engine that wraps the model if the same job is started on several GPUs; empty where its start is known."""
