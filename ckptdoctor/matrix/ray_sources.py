"""The copies of sources that a task needs, on their way from the machine where the command was started to a node."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

from packaging.requirements import Requirement

from ckptdoctor.environment import copies
from ckptdoctor.matrix.executor import Task
from ckptdoctor.model.sources import mark


def marks(task: Task) -> list[str]:
    """The marks of the sources that a task's packages come from."""
    releases = [one.version for text in requirements(task) for one in Requirement(text).specifier]
    return list(dict.fromkeys(filter(None, map(mark, releases))))


def requirements(task: Task) -> list[str]:
    """All that a task adds to the target."""
    trainers = dict.fromkeys(one.trainer_requirement for one in task.combinations)
    return [*task.base.requirements, *filter(None, trainers)]


def archive(cache: Path, content: str) -> bytes:
    """A source's copy in the cache, as an archive."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as archive:
        archive.add(copies.place(cache, content), content)
    return packed.getvalue()


def take(cache: Path, content: str, fetch: Callable[[], bytes]) -> None:
    """Put a source's copy into this machine's cache, unless it is there."""
    if copies.known(cache, content) is not None:
        return
    with copies.making(cache) as make:
        folder = make()
        with tarfile.open(fileobj=io.BytesIO(fetch())) as packed:
            packed.extractall(folder, filter="data")
        copies.put(cache, content, folder / content)
