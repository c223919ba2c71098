"""From a file to the job that it describes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from ckptdoctor.job import axolotl, deepspeed, files, kinds, llamafactory, training_arguments
from ckptdoctor.job.fields import Fields
from ckptdoctor.job.job import Job
from ckptdoctor.job.releases import Releases


class _Reader(Protocol):
    def __call__(self, fields: Fields, releases: Releases) -> Job: ...


READERS: dict[str, _Reader] = {
    kinds.LLAMAFACTORY: llamafactory.read,
    kinds.AXOLOTL: axolotl.read,
    kinds.TRANSFORMERS: training_arguments.read,
    kinds.DEEPSPEED: deepspeed.read,
}


def read(path: str | Path, versions: Mapping[str, str] | None = None) -> Job:
    """Read a training job, and say what of it can be tried.

    Paths in it are taken from the current folder, as the trainers do.

    Args:
        path: A LLaMA-Factory or axolotl job, a ``TrainingArguments`` file, or a configuration of DeepSpeed.
        versions: The releases of transformers and axolotl in the target, where they are known. Some settings mean
            another checkpoint function from one release to the next; without them ``functions`` names each that it may be.

    Raises:
        UsageFault: There is no such file, or it is not a job that can be read.
    """
    source = str(path)
    values: dict[str, Any] = files.load(source)
    return READERS[kinds.tell(source, values)](Fields(source, values), Releases(versions or {}))
