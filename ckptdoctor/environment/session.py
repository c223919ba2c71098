"""The bridge to the target: processes in the target that run probes, and what they report."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from ckptdoctor import catalog
from ckptdoctor.environment.fork_server import ForkServer
from ckptdoctor.environment.inspection import Inspection, inspection_of
from ckptdoctor.environment.process import Process, environment, start_worker
from ckptdoctor.environment.rounds import STARTUP, Extras, Round
from ckptdoctor.errors import Interrupted, TargetError
from ckptdoctor.model.evidence import Environment, Evidence, Spec
from ckptdoctor.model.progress import SILENT, Progress
from ckptdoctor.model.workers import WITHOUT_DEEPSPEED, Worker
from ckptdoctor.store import locations
from ckptdoctor.store.workspace import Workspace, hold, uninterrupted
from ckptdoctor.words.wording import first_line

LOOK = 30.0
"""Seconds between notes of the line that a long import has reached."""
OUT_OF_MEMORY = ("MemoryError", "failed to map segment", "annot allocate memory")
"""Parts of an error that a limit on memory causes."""


class Reads(NamedTuple):
    """What probes' processes read beside modules."""

    files: set[str]
    """Files and folders, whether or not they exist."""
    variables: set[str]
    """Names of environment variables."""
    untraced: set[str]
    """Calls of the user's function whose result may depend on anything, such as a program that it starts."""


class Session:
    """Runs probes in the target. Use as a context manager: it leaves no process and no folder behind."""

    def __init__(
        self,
        python: Path,
        overlay: Path | None,
        at_once: int,
        cache: Path,
        progress: Progress = SILENT,
        fork_server: ForkServer | None = None,
        stop: threading.Event | None = None,
        adapted: bool = False,
    ) -> None:
        """Prepare to examine a target; nothing is started yet.

        Args:
            python: The target's interpreter.
            overlay: A folder of packages to put ahead of the target's own.
            at_once: Probes at a time in each worker.
            cache: Where compiled files are kept.
            progress: Told how it goes on.
            fork_server: Fork workers from it if the overlay allows that; otherwise each is a fresh interpreter.
            stop: Once set, an examination that is under way ends.
            adapted: Start its processes as ``ckptdoctor run`` starts a job's.
        """
        self.python = python
        self.files: set[str] = set()
        """Every file from which the probes' processes loaded a module."""
        self.reads = Reads(set(), set(), set())
        self.crashed_once: list[str] = []
        """Ids of the probes that crashed once, but not when they were run again."""
        self._overlay = overlay
        self._fork_server = (
            fork_server if fork_server is not None and overlay is not None and fork_server.suits(overlay) else None
        )
        self._stop = stop or threading.Event()
        self.at_once = at_once
        self.progress = progress
        self.workers: dict[Worker, Process] = {}
        self._workspace = Workspace()
        self._folder = self._workspace.folder
        (self._folder / "work").mkdir()
        (self._folder / "tmp").mkdir()
        self._environ = environment(os.environ, self._folder, cache, [overlay] if overlay else [], adapted)
        self._cache = cache
        hold(cache, "bytecode", "extensions")

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        with uninterrupted():
            for process in self.workers.values():
                process.hang_up()
            for process in self.workers.values():
                process.close()
            self.workers.clear()
            self._workspace.remove()

    def look(self) -> Environment:
        """What is installed in the target, as a report shows it; see ``inspect``."""
        return self.inspect().environment

    def inspect(self) -> Inspection:
        """What is installed in the target and all that it requires, read without importing it.

        Raises:
            TargetError: Its Python does not start, or is too old for the probes.
        """
        self.progress(f"inspecting {self.python}")
        process = self.open(WITHOUT_DEEPSPEED, facts=True)
        try:
            event = process.read(STARTUP)
        except EOFError:
            raise self._does_not_start(process) from None
        if event is None:
            raise TargetError(f"{self.python} did not start within {STARTUP:g} s.", "is its disk very slow?")
        found = inspection_of(event, self.python)
        self.note({"files": (), **event})
        for path in found.environment.paths:
            locations.mark_used(self._cache / "bytecode" / path.lstrip("/"))
        return found

    def _does_not_start(self, process: Process) -> TargetError:
        death, words = process.death(), process.last_words()
        self.workers.pop(WITHOUT_DEEPSPEED, None)
        return TargetError(
            f"{self.python} {death} before anything was imported" + (f": {words}." if words else "."),
            f"try `{self.python} -c 'print(1)'`; the target needs Python 3.9 or later",
        )

    @property
    def is_stopped(self) -> bool:
        """Whether an examination that is under way is to end."""
        return self._stop.is_set()

    def examine(
        self,
        specs: Mapping[Worker, Sequence[Spec]],
        replacements: Mapping[str, str] | None = None,
        added: Mapping[str, Path] | None = None,
        each: Callable[[Evidence], None] = lambda _: None,
    ) -> list[Evidence]:
        """Run probes, those of all workers at the same time.

        Args:
            specs: What to run, by worker.
            replacements: By the name of a checkpoint function: a file to load instead of the installed one.
            added: For each requirement that a spec adds: the folder of its packages.
            each: Called with each piece of evidence as it comes.

        Returns:
            One piece of evidence for each spec.

        Raises:
            Interrupted: The examination was stopped.
        """
        more = Extras(replacements or {}, added or {}, each)
        self.progress.begins(sum(map(len, specs.values())), "probe")
        rounds = [Round(self, worker, list(wanted), more) for worker, wanted in specs.items() if wanted]
        while any(not one.is_done for one in rounds):
            if self.is_stopped:
                raise Interrupted
            for one in rounds:
                one.advance(timeout=0.02 if len(rounds) > 1 else 0.5)
        return [evidence for one in rounds for evidence in one.evidence]

    def write(self, name: str, text: str) -> Path:
        """Write a file into the run's own folder, for a probe to load instead of an installed one."""
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        (folder / name).write_bytes(text.encode())
        return folder / name

    def open(self, worker: Worker, facts: bool = False) -> Process:
        """The process of a worker; a new one is started if there is none."""
        if worker not in self.workers:
            paths = [str(self._overlay)] if self._overlay else []
            opening = {"hide": list(worker), "paths": paths, "facts": facts, "look": LOOK, "catalog": catalog.sent()}
            forked = self._fork_server.fork() if self._fork_server else None
            self.workers[worker] = Process(
                forked or start_worker(self.python, self._environ, self._folder / "work"), opening
            )
        return self.workers[worker]

    def check_broken(self, event: dict[str, Any]) -> None:
        """Raise an error if torch does not import; another package that does not is evidence of its own probes."""
        if event["what"] == "torch":
            error = event["error"]
            what = f"{error['type']}: {first_line(error['message'])}"
            hint = f"try `{self.python} -c 'import torch'`; reinstall torch there, or name another target with --python"
            if any(sign in what for sign in OUT_OF_MEMORY):
                hint = "memory ran out, most likely: raise the limit (`ulimit -v`, or the container's)"
            raise TargetError(f"torch does not import in {self.python}: {what}", hint)

    def note(self, event: Mapping[str, Any]) -> None:
        """Keep what a process loaded and read, without the session's own files."""
        ours = str(self._folder)
        self.files.update(file for file in event["files"] if not file.startswith(ours))
        reads = event.get("reads", {})
        self.reads.files.update(file for file in reads.get("files", ()) if not file.startswith(ours))
        self.reads.variables.update(reads.get("variables", ()))
        self.reads.untraced.update(reads.get("untraced", ()))

    def discard(self, worker: Worker) -> None:
        """Kill a worker; the next request to it starts a new one."""
        self.workers.pop(worker).kill()
