"""From a file to the job that it describes."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from ckptdoctor.errors import UsageFault
from ckptdoctor.job import files, settings_text
from ckptdoctor.job.fields import Fields
from ckptdoctor.job.format import Format
from ckptdoctor.job.job import Job
from ckptdoctor.job.models import Choice
from ckptdoctor.job.releases import Releases
from ckptdoctor.job.telling import tell

NO_CHOICE = Choice()


class JobFile:
    """A job file, read once; what it says depends on the releases of the trainers."""

    def __init__(self, path: str | Path) -> None:
        """Read a file.

        Raises:
            UsageFault: There is no such file, or it holds no settings.
        """
        self._source = str(path)
        self._strict_fault: settings_text.StrictFault | None = None
        try:
            self._values = files.load(self._source)
        except settings_text.StrictFault as fault:
            self._strict_fault, self._values = fault, fault.values

    def interpreted(self, versions: Mapping[str, str] | None = None, choice: Choice = NO_CHOICE) -> Job:
        """The job that the file describes; the arguments are those of ``read``.

        Raises:
            UsageFault: It is not a job that can be read.
        """
        releases = Releases(versions or {})
        job = self._format(releases).read(Fields(self._source, self._values), releases, choice)
        job.keys = [name for name in self._values if settings_text.is_plain(name)]
        return job

    def _format(self, releases: Releases) -> Format:
        """Whose job it is, which decides on how strictly a file is read."""
        if self._strict_fault is None:
            return tell(self._source, self._values)
        with suppress(UsageFault):
            told = tell(self._source, self._values)
            if told.takes(self._strict_fault.is_json, releases):
                return told
        raise self._strict_fault


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
    return JobFile(path).interpreted(versions, choice)
