"""From a file to the job that it describes."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from ckptdoctor.errors import UsageFault
from ckptdoctor.job import axolotl, deepspeed, files, kinds, llamafactory, training_arguments
from ckptdoctor.job.fields import Fields
from ckptdoctor.job.job import Job
from ckptdoctor.job.models import Choice
from ckptdoctor.job.releases import Releases

NO_CHOICE = Choice()


class _Reader(Protocol):
    def __call__(self, fields: Fields, releases: Releases, choice: Choice) -> Job: ...


READERS: dict[str, _Reader] = {
    kinds.LLAMAFACTORY: llamafactory.read,
    kinds.AXOLOTL: axolotl.read,
    kinds.TRANSFORMERS: training_arguments.read,
    kinds.DEEPSPEED: deepspeed.read,
}


def read(path: str | Path, versions: Mapping[str, str] | None = None, choice: Choice = NO_CHOICE) -> Job:
    """Read a training job, and say what of it can be tried.

    Paths in it are taken from the current folder, as the trainers do.

    Args:
        path: A LLaMA-Factory or axolotl job, a ``TrainingArguments`` file, or a configuration of DeepSpeed.
        versions: The releases of transformers and axolotl in the target, where they are known. Some settings mean
            another checkpoint function from one release to the next; without them ``functions`` names each that it may be.
        choice: What decides on the model beside the job.

    Raises:
        UsageFault: There is no such file, or it is not a job that can be read.
    """
    source = str(path)
    releases = Releases(versions or {})
    trainer, values = _told(source, releases)
    job = READERS[trainer](Fields(source, values), releases, choice)
    job.keys = [name for name in values if files.is_plain(name)]
    return job


def _told(source: str, releases: Releases) -> tuple[str, dict[str, Any]]:
    """Whose job a file is, and its settings as that trainer reads them."""
    try:
        values = files.load(source)
    except files.StrictFault as fault:
        with suppress(UsageFault):
            trainer = kinds.tell(source, fault.values)
            if _is_lenient(trainer, fault.is_json, releases):
                return trainer, fault.values
        raise
    return kinds.tell(source, values), values


def _is_lenient(trainer: str, is_json: bool, releases: Releases) -> bool:
    """Whether a trainer takes comments in JSON, or tabs between the words of YAML."""
    if is_json:
        return trainer == kinds.DEEPSPEED
    return trainer == kinds.LLAMAFACTORY and releases.is_from("llamafactory", OMEGACONF) is not False


OMEGACONF = "0.9.4"
"""The release from which on LLaMA-Factory loads YAML with OmegaConf, which takes tabs."""
