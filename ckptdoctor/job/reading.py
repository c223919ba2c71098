"""From a file to the job that it describes."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ckptdoctor.errors import UsageFault
from ckptdoctor.job import files
from ckptdoctor.job.fields import Fields
from ckptdoctor.job.format import Format
from ckptdoctor.job.job import Job
from ckptdoctor.job.models import Choice
from ckptdoctor.job.releases import Releases
from ckptdoctor.job.telling import tell

NO_CHOICE = Choice()


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
    told, values = _told(source, releases)
    job = told.read(Fields(source, values), releases, choice)
    job.keys = [name for name in values if files.is_plain(name)]
    return job


def _told(source: str, releases: Releases) -> tuple[Format, dict[str, Any]]:
    """Whose job a file is, and its settings as that trainer reads them."""
    try:
        values = files.load(source)
    except files.StrictFault as fault:
        with suppress(UsageFault):
            told = tell(source, fault.values)
            if told.takes(fault.is_json, releases):
                return told, fault.values
        raise
    return tell(source, values), values
