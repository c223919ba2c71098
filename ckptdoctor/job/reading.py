"""From files to the job that they describe."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import structs

from ckptdoctor import catalog
from ckptdoctor.errors import UsageFault
from ckptdoctor.job import arguments, commands, files, launch, overrides, settings_text
from ckptdoctor.job.fields import Fields
from ckptdoctor.job.format import Format
from ckptdoctor.job.formats import formats
from ckptdoctor.job.job import Job
from ckptdoctor.job.launch import Launch
from ckptdoctor.job.models import Choice
from ckptdoctor.job.releases import Releases
from ckptdoctor.job.telling import tell
from ckptdoctor.model.evidence import Setup

NO_CHOICE = Choice()


class _Settings(NamedTuple):
    """What one file says."""

    source: str
    values: Mapping[str, Any]
    strict_fault: settings_text.StrictFault | None = None
    command: commands.Read | None = None


class JobFile:
    """A job, its files read once; what it says depends on the releases of the trainers."""

    def __init__(self, *given: str | Path) -> None:
        """Read the files of a job.

        Args:
            given: One file that is a job. Beside it a configuration of accelerate, which starts it, and settings as
                ``KEY=VALUE``, which go before those of the file.

        Raises:
            UsageFault: There is no such file, it holds no settings, or the files are not those of one job.
        """
        texts = [str(one) for one in given]
        assigned = [one for one in texts if overrides.is_one(one)]
        read = [_read(one) for one in texts if one not in assigned]
        launchers = [one for one in read if launch.MARK in one.values]
        jobs = [one for one in read if one not in launchers]
        if len(launchers) > 1 or len(jobs) > 1:
            several = launchers if len(launchers) > 1 else jobs
            what = "configurations of accelerate" if len(launchers) > 1 else "jobs"
            names = " and ".join(one.source for one in several)
            raise UsageFault(f"--job names several {what}: {names}.", "give one job")
        given_launch = launch.read(Fields(launchers[0].source, launchers[0].values)) if launchers else Launch()
        if not jobs:
            raise launch.require_job(given_launch) if launchers else overrides.require_job(assigned[0])
        self._job, self._command = jobs[0], jobs[0].command
        self._launch = self._command.launch.over(given_launch) if self._command else given_launch
        self._assigned = assigned
        self._values = overrides.applied(assigned, self._job.values)
        self._source = " and ".join([self._job.source, *(one.source for one in launchers)])

    def interpreted(self, versions: Mapping[str, str] | None = None, choice: Choice = NO_CHOICE) -> Job:
        """The job that the file describes; the arguments are those of ``read``.

        Raises:
            UsageFault: It is not a job that can be read.
        """
        releases = Releases(versions or {})
        set_here = {name.partition("=")[0] for name in self._assigned}
        open_ = {
            name: one
            for name, one in (self._command.unresolved if self._command else {}).items()
            if name not in set_here
        }
        fields = Fields(self._job.source, self._values, is_lenient=self._command is not None, unresolved=open_)
        job = self._format(releases).read(fields, releases, choice, self._launch)
        job.source = self._source
        job.keys, job.launcher_keys = _plain(self._values), _plain(self._launch.keys)
        job.setup = self._prepared(job)
        job.on_several = self._on_several(fields, job)
        job.leaves_unused = formats()[job.trainer].leaves_unused(fields)
        job.untried += [*(self._command.untried if self._command else ()), *self._launch.untried]
        job.unjudged = [*self._launch.unjudged, *job.unjudged]
        for name, variable in fields.missed().items():
            is_model = name.rpartition(".")[2] in arguments.MODELS
            said = f"`{name}`: the script does not say what `{variable}` is{': give --model' if is_model else ''}."
            (job.untried if is_model else job.unjudged).append(said)
        return job

    def _on_several(self, fields: Fields, job: Job) -> str:
        """The engine on several GPUs, where nothing says how the job is started: its trainer, or a launcher, makes it DDP."""
        is_open = job.engine == "none" and not self._launch.kind and formats()[job.trainer].names_model
        if not is_open or not job.is_checkpointed:
            return ""
        return "ddp-unused" if formats()[job.trainer].looks_for_unused(fields) else "ddp"

    def _prepared(self, job: Job) -> Setup:
        """The job's set-up with the settings that its trainer's own preparation of the model reads."""
        # Beside embeddings that are trained, it makes no difference whether their output is made to require a gradient.
        is_adapted = job.setup.inputs_require_grad and job.setup.tuning == "lora"
        setup = structs.replace(job.setup, inputs_require_grad=is_adapted)
        trainer = catalog.trainers().get(job.trainer)
        if trainer is None or not trainer.arguments:
            return setup
        given = {name: self._values[name] for name in trainer.arguments if self._values.get(name) is not None}
        return structs.replace(setup, prepared_by=job.trainer, arguments=json.dumps(given) if given else "")

    def _format(self, releases: Releases) -> Format:
        """Whose job it is, which decides on how strictly a file is read."""
        if self._command is not None and self._command.format:
            return formats()[self._command.format]
        fault = self._job.strict_fault
        if fault is None:
            return tell(self._job.source, self._values)
        with suppress(UsageFault):
            told = tell(self._job.source, self._values)
            if told.takes(fault.is_json, releases):
                return told
        raise fault


def _plain(names: Iterable[str]) -> list[str]:
    return [name for name in names if settings_text.is_plain(name)]


def _read(path: str) -> _Settings:
    text = files.text_of(path)
    if files.is_script(text, path):
        found = commands.read(text, path, files.load, files.parse)
        return _Settings(path, found.values, command=found)
    try:
        return _Settings(path, files.parse(text, path))
    except settings_text.StrictFault as fault:
        return _Settings(path, fault.values, fault)


def read(
    path: str | Path | Sequence[str | Path], versions: Mapping[str, str] | None = None, choice: Choice = NO_CHOICE
) -> Job:
    """Read a training job, and say what of it can be tried.

    Paths in it are taken from the current folder, as the trainers do.

    Args:
        path: A LLaMA-Factory or axolotl job, a ``TrainingArguments`` file, or a configuration of DeepSpeed; several where
            a configuration of accelerate or settings as ``KEY=VALUE`` stand beside it.
        versions: The releases of transformers and axolotl in the target, where they are known. Some settings mean
            another checkpoint function from one release to the next; without them ``functions`` names each that it may be.
        choice: What decides on the model beside the job.

    Raises:
        UsageFault: There is no such file, or it is not a job that can be read.
    """
    paths = [path] if isinstance(path, (str, Path)) else path
    return JobFile(*paths).interpreted(versions, choice)
