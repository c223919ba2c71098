"""The description of one kind of job file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ckptdoctor.job.fields import Fields
from ckptdoctor.job.job import Job
from ckptdoctor.job.launch import Launch
from ckptdoctor.job.models import Choice
from ckptdoctor.job.releases import Releases
from ckptdoctor.model.evidence import Environment


@dataclass(frozen=True)
class Format:
    """A kind of job file; ``formats/`` has one module for each.

    Attributes:
        name: What ``Job.trainer`` says of it.
        title: Whose file it is, for people.
        read: Makes a job of the settings in such a file, and of what starts its processes.
        own: Keys that are this trainer's alone: no other trainer whose files are known has an argument of such a name.
        model: Keys that name the model, of which one makes those in ``beside_model`` a mark.
        beside_model: Keys that are a mark of the trainer's beside one that names the model.
        sections: Keys that are a mark where they hold a section; in other trainers' jobs they are true or false.
        shared: Keys that other trainers take too, so that they count only if no other trainer's mark is there.
        names_model: Whether such a file can name a model.
        is_read: Whether its settings are read; nothing is said of them otherwise.
        takes: Whether the trainer takes what strict readers refuse: comments in JSON (``True``), or tabs between the words
            of YAML (``False``), by the releases that are installed.
        looks_for_unused: Whether DDP looks for unused parameters in a job that checkpoints.
        leaves_unused: Whether a job's loss leaves parameters unused, so that DDP has to look for them.
        refused: Keys that the installed trainer has no argument for.
        on_unknown: What it does then.
        package: The trainer's package, if its name is not ``name``.
    """

    name: str
    title: str
    read: Callable[[Fields, Releases, Choice, Launch], Job]
    own: frozenset[str] = frozenset()
    model: tuple[str, ...] = ()
    beside_model: frozenset[str] = frozenset()
    sections: frozenset[str] = frozenset()
    shared: frozenset[str] = frozenset()
    names_model: bool = True
    is_read: bool = True
    takes: Callable[[bool, Releases], bool] = lambda is_json, releases: False
    looks_for_unused: Callable[[Fields], bool] = lambda fields: fields.leniently().flag("ddp_find_unused_parameters")
    leaves_unused: Callable[[Fields], bool] = lambda fields: False
    refused: Callable[[Iterable[str], Environment], list[str]] = lambda keys, environment: []
    on_unknown: str = "rejects the job"
    package: str = ""

    def marks(self, values: Mapping[str, Any]) -> list[str]:
        """The keys that identify a file of this kind, the surest first."""
        with_model = self.beside_model & values.keys() if any(name in values for name in self.model) else set()
        sections = {name for name in self.sections if isinstance(values.get(name), Mapping)}
        return [*sorted(self.own & values.keys()), *sorted(with_model), *sorted(sections)]
