"""Observes training steps of this very process, from Python: a context, a callback for transformers' Trainer."""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ckptdoctor.errors import UsageFault
from ckptdoctor.observe import folder, judging
from ckptdoctor.observe.job import Job
from ckptdoctor.store import locations

if TYPE_CHECKING:
    from ckptdoctor.model.report import Report

HOOK = "_ckptdoctor_hook"


class Watched:
    """Training steps that are observed, and the report on them once they are over."""

    def __init__(self, steps: int, evidence: str | os.PathLike[str] | None = None) -> None:
        """Nothing is observed before ``begin``.

        Args:
            steps: Steps of the optimizer to observe.
            evidence: A folder that all ranks share: then each rank's report is on all that have reported by then.
        """
        self._steps = steps
        self._shared = Path(evidence) if evidence is not None else None
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._observer: Any = None
        self._has_begun = False
        self._report: Report | None = None

    def begin(self) -> None:
        """Put the hooks in place, once torch is imported.

        Raises:
            UsageFault: The folder cannot be written.
        """
        if self._shared is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="ckptdoctor-", ignore_cleanup_errors=True)
        folder.prepare(self._folder, self._steps)
        self._has_begun = True
        hook = _hook()
        hook.when_executed("torch", lambda module: self._observe(hook))

    def _observe(self, hook: ModuleType) -> None:
        if self._report is None:
            self._observer = hook.probes("observer.observer").start(str(self._folder))

    @property
    def is_over(self) -> bool:
        """Whether all steps were observed: every hook is out."""
        return self._observer is not None and not self._observer.is_open

    def end(self, error: BaseException | None = None) -> None:
        """Take the hooks out, if they are still in place, and judge.

        Args:
            error: The error that ended the training, if one did.
        """
        if not self._has_begun or self._report is not None:
            return
        if self._observer is not None:
            self._observer.end(error)
        processes = folder.read(self._folder)
        own = [one for one in processes if one.pid == os.getpid()] if self._shared is None else processes
        self._report = judging.judge(Job(own, self._steps, is_whole=self._shared is not None))
        if self._temporary is not None:
            self._temporary.cleanup()

    @property
    def report(self) -> Report:
        """The report on what was observed, once it is over; it is judged when it is first asked for.

        Raises:
            UsageFault: Nothing has begun.
        """
        self.end()
        if self._report is None:
            raise UsageFault("Nothing was observed.", "use it as a context: with watching() as watched: ...")
        return self._report

    @property
    def _folder(self) -> Path:
        return self._shared if self._shared is not None else Path(self._temporary.name if self._temporary else "")


@contextmanager
def watching(steps: int = 2, evidence: str | os.PathLike[str] | None = None) -> Iterator[Watched]:
    """Observe the training steps inside; an error is observed too, and goes on."""
    watched = Watched(steps, evidence)
    watched.begin()
    try:
        yield watched
    except BaseException as error:
        watched.end(error)
        raise
    watched.end()


def callback(steps: int = 2, stop: bool = False) -> Any:
    """A ``TrainerCallback`` that observes the first steps of a Trainer and prints the verdict.

    Args:
        steps: Steps to observe.
        stop: Whether a finding of severity error ends the training, with ``RuntimeError``.

    Raises:
        UsageFault: transformers is not imported yet.
    """
    transformers = sys.modules.get("transformers")
    if transformers is None:
        raise UsageFault("transformers is not imported.", "import transformers before")
    watched = Watched(steps)

    def on_init_end(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        watched.begin()

    def on_step_end(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if watched.is_over and self.report is None:
            _tell(self, watched, stop)

    def on_train_end(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.report is None:
            _tell(self, watched, stop)

    methods = {"on_init_end": on_init_end, "on_step_end": on_step_end, "on_train_end": on_train_end, "report": None}
    return type("CheckpointingCallback", (transformers.TrainerCallback,), methods)()


def _tell(callback: Any, watched: Watched, stop: bool) -> None:
    from ckptdoctor.output.sentences import VERDICTS
    from ckptdoctor.words.escape import one_line

    callback.report = report = watched.report
    line = f"{VERDICTS[report.verdict]}: {report.summary}"
    sys.stderr.write(f"ckptdoctor: {one_line(line, 1000)}\n")
    if stop and report.verdict == "fail":
        raise RuntimeError(line)


def _hook() -> ModuleType:
    """The module that jobs import through ``PYTHONPATH``; here it is loaded from its file."""
    if HOOK not in sys.modules:
        file = locations.probes() / "no_touch" / f"{HOOK}.py"
        spec = importlib.util.spec_from_file_location(HOOK, file)
        if spec is None or spec.loader is None:
            raise UsageFault(f"{file} cannot be loaded.", "install ckptdoctor again")
        module = importlib.util.module_from_spec(spec)
        sys.modules[HOOK] = module
        spec.loader.exec_module(module)
    return sys.modules[HOOK]
