"""The bridge to the target: processes in the target that run probes, and what they report."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import msgspec

from ckptdoctor import catalog
from ckptdoctor.environment.fork_server import ForkServer
from ckptdoctor.environment.inspection import Inspection
from ckptdoctor.environment.process import Process, environment, start_worker
from ckptdoctor.errors import Interrupted, TargetError
from ckptdoctor.model.evidence import Environment, Evidence, Spec
from ckptdoctor.model.workers import WITHOUT_DEEPSPEED, Worker
from ckptdoctor.store import locations
from ckptdoctor.store.workspace import Workspace, hold, uninterrupted
from ckptdoctor.words.wording import first_line

STARTUP = 600.0
"""Seconds that the target's Python may take to start and to import the stack; a cold network disk takes minutes."""

LOOK = 30.0
"""Seconds between notes of where an import stands that takes long."""

STUCK = 150.0
"""Seconds at the very same line after which an import is taken for one that never ends."""

COMPILES = ("deepspeed",)
"""What may wait for a compiler at one line for minutes."""

GRACE = 30.0
"""Seconds over the longest time limit after which a worker that says nothing is taken for dead."""

OUT_OF_MEMORY = ("MemoryError", "failed to map segment", "annot allocate memory")
"""Parts of an error of which the cause is a limit on memory."""

Progress = Callable[[str], None]


class Reads(NamedTuple):
    """What probes' processes read beside modules."""

    files: set[str]
    """Files and folders, there or not."""
    variables: set[str]
    """Names of environment variables."""
    untraced: set[str]
    """What a function of the user's own did of which nobody can tell what it rests on."""


class Session:
    """The target while it is examined. Use as a context manager: it leaves no process and no folder behind."""

    def __init__(
        self,
        python: Path,
        overlay: Path | None,
        at_once: int,
        cache: Path,
        progress: Progress = lambda _: None,
        fork_server: ForkServer | None = None,
        stop: threading.Event | None = None,
        adapted: bool = False,
    ) -> None:
        """Prepare to examine a target; nothing is started yet.

        Args:
            python: The target's interpreter.
            overlay: A folder of packages to lay over it.
            at_once: Probes at a time in each worker.
            cache: Where compiled files are kept.
            progress: Told what is going on, a few words at a time.
            fork_server: Where workers are forked from, if the overlay allows that; otherwise each is a fresh interpreter.
            stop: Once set, an examination that is under way ends.
            adapted: Start its processes as ``ckptdoctor run`` starts a job's.
        """
        self.python = python
        self.files: set[str] = set()
        """Every file from which the probes' processes loaded a module."""
        self.reads = Reads(set(), set(), set())
        self.crashed_once: list[str] = []
        """Ids of the probes that crashed, and did not when they were run again."""
        self._overlay = overlay
        self._fork_server = (
            fork_server if fork_server is not None and overlay is not None and fork_server.suits(overlay) else None
        )
        self._stop = stop or threading.Event()
        self.at_once = at_once
        self._progress = progress
        self._workers: dict[Worker, Process] = {}
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
            for process in self._workers.values():
                process.hang_up()
            for process in self._workers.values():
                process.close()
            self._workers.clear()
            self._workspace.remove()

    def look(self) -> Environment:
        """What is installed in the target, as a report shows it; see ``inspect``."""
        return self.inspect().environment

    def inspect(self) -> Inspection:
        """What is installed in the target and all that it requires, read without importing it.

        Raises:
            TargetError: Its Python does not start, or is not one that the probes run on.
        """
        self._progress("looking at what is installed")
        process = self._open(WITHOUT_DEEPSPEED, facts=True)
        try:
            event = process.read(STARTUP)
        except EOFError:
            raise self._does_not_start(process) from None
        if event is None:
            raise TargetError(f"{self.python} did not start within {STARTUP:g} s.", "is its disk very slow?")
        found = inspection_of(event, self.python)
        for path in found.environment.paths:
            locations.mark_used(self._cache / "bytecode" / path.lstrip("/"))
        return found

    def _does_not_start(self, process: Process) -> TargetError:
        death, words = process.death(), process.last_words()
        self._workers.pop(WITHOUT_DEEPSPEED, None)
        return TargetError(
            f"{self.python} {death} before anything was imported" + (f": {words}." if words else "."),
            f"try `{self.python} -c 'print(1)'`; the target needs Python 3.9 or later",
        )

    def examine(
        self,
        specs: Mapping[Worker, Sequence[Spec]],
        replacements: Mapping[str, str] | None = None,
        laid: Mapping[str, Path] | None = None,
        each: Callable[[Evidence], None] = lambda _: None,
    ) -> list[Evidence]:
        """Run probes, every worker's at the same time as the others'.

        Args:
            specs: What to run, by worker.
            replacements: For a checkpoint function, by its name: a file to load in place of the installed one.
            laid: For a requirement that specs are added to with: the folder of packages that meets it.
            each: Told of each piece of evidence as it comes.

        Returns:
            One piece of evidence a spec, whatever became of it.

        Raises:
            Interrupted: It was stopped.
        """
        more = _More(replacements or {}, laid or {}, each)
        rounds = [_Round(self, worker, list(wanted), more) for worker, wanted in specs.items() if wanted]
        while any(not one.is_done for one in rounds):
            if self._stop.is_set():
                raise Interrupted
            for one in rounds:
                one.advance(timeout=0.02 if len(rounds) > 1 else 0.5)
        return [evidence for one in rounds for evidence in one.evidence]

    def write(self, name: str, text: str) -> Path:
        """Put a file into the run's own folder, for a probe to load in place of an installed one."""
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        (folder / name).write_bytes(text.encode())
        return folder / name

    def _open(self, worker: Worker, facts: bool = False) -> Process:
        if worker not in self._workers:
            paths = [str(self._overlay)] if self._overlay else []
            opening = {"hide": list(worker), "paths": paths, "facts": facts, "look": LOOK, "catalog": catalog.sent()}
            forked = self._fork_server.fork() if self._fork_server else None
            self._workers[worker] = Process(
                forked or start_worker(self.python, self._environ, self._folder / "work"), opening
            )
        return self._workers[worker]

    def _check_broken(self, event: dict[str, Any]) -> None:
        """Give up when torch itself does not import; anything else that does not is its own probes' evidence."""
        if event["what"] == "torch":
            error = event["error"]
            what = f"{error['type']}: {first_line(error['message'])}"
            hint = f"try `{self.python} -c 'import torch'`; reinstall torch there, or name another target with --python"
            if any(sign in what for sign in OUT_OF_MEMORY):
                hint = "memory ran out, most likely: raise the limit (`ulimit -v`, or the container's)"
            raise TargetError(f"torch does not import in {self.python}: {what}", hint)

    def _note(self, event: Mapping[str, Any]) -> None:
        ours = str(self._folder)
        self.files.update(file for file in event["files"] if not file.startswith(ours))
        reads = event.get("reads", {})
        self.reads.files.update(file for file in reads.get("files", ()) if not file.startswith(ours))
        self.reads.variables.update(reads.get("variables", ()))
        self.reads.untraced.update(reads.get("untraced", ()))

    def _discard(self, worker: Worker) -> None:
        self._workers.pop(worker).kill()


def inspection_of(event: Mapping[str, Any], python: Path) -> Inspection:
    """What the environment's side tells of itself.

    Raises:
        TargetError: It is not of that form.
    """
    try:
        return msgspec.convert(event, Inspection, strict=False)
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        raise TargetError(
            f"{python} does not say what is installed in it: {error}.",
            "a package's METADATA, or a sitecustomize, may be damaged",
        ) from None


def _evidence(told: dict[str, Any]) -> Evidence:
    """Evidence as the environment's side tells it; what is not of that form counts as none."""
    try:
        return msgspec.convert(told, Evidence, strict=False)
    except msgspec.ValidationError as error:
        why = f"its result is not of the form that was expected: {error}"
        return Evidence(id=str(told.get("id", "")), ended="crashed", why=why)


class _More(NamedTuple):
    """What the probes of an examination are given beside their specs."""

    replacements: Mapping[str, str]
    laid: Mapping[str, Path]
    each: Callable[[Evidence], None]

    def whole(self, spec: Spec) -> dict[str, Any]:
        """A spec as the environment's side takes it: every field, defaults too, since it knows none."""
        fields = {**msgspec.structs.asdict(spec), "setup": msgspec.structs.asdict(spec.setup)}
        paths = [str(self.laid[spec.laid])] if spec.laid else []
        return {**fields, "id": spec.id, "replacement": self.replacements.get(spec.function, ""), "paths": paths}


class _Round:
    """The probes of one worker, until all have come to an end.

    A worker that dies takes running probes with it. It is opened anew for those that were not to blame, and the suspects
    are run one at a time, so that only the one that kills its worker is reported as crashed.
    """

    def __init__(self, session: Session, worker: Worker, specs: list[Spec], more: _More) -> None:
        self.evidence: list[Evidence] = []
        self._session, self._worker, self._more = session, worker, more
        self._waiting = {spec.id: spec for spec in specs}
        self._started: set[str] = set()
        self._suspects: list[Spec] = []
        self._again: list[Spec] = []
        """Probes that have crashed once, and are tried again alone."""
        self._crashed: set[str] = set()
        self._busy = 0
        """Requests to the worker that it has not reported idle after."""
        self._stands_at = ""
        self._stands_since = 0.0
        self._limit = max(spec.timeout for spec in specs) + GRACE
        self._send(list(self._waiting.values()), session.at_once)

    @property
    def is_done(self) -> bool:
        """Whether every probe has its evidence, and the worker has nothing more to say."""
        return not self._waiting and not self._busy and not self._again

    def advance(self, timeout: float) -> None:
        """Take the events that come within ``timeout`` seconds."""
        try:
            while not self.is_done:
                self._run_again()
                event = self._process.read(timeout)
                if event is None:
                    self._check_silence()
                    return
                self._heard = time.monotonic()
                self._handle(event)
        except EOFError:
            self._bury(self._process.death())

    def _send(self, specs: list[Spec], at_once: int) -> None:
        self._was_idle = self._worker in self._session._workers
        self._process = self._session._open(self._worker)
        self._stage = "starting"
        self._started.clear()
        self._busy += 1
        self._heard = time.monotonic()
        self._process.send({"specs": [self._more.whole(spec) for spec in specs], "at_once": at_once})

    def _handle(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "importing":
            self._stage, self._stands_at = event["what"], ""
            self._process.forget_where()
            self._session._progress(f"importing {event['what']}")
        elif kind == "broken":
            self._session._check_broken(event)
        elif kind == "started":
            self._started.add(event["id"])
            self._session._progress(f"running {event['id']}")
        elif kind == "done":
            self._take(event)
        elif kind == "idle":
            self._busy -= 1
            self._session._note(event)

    def _take(self, event: dict[str, Any]) -> None:
        evidence = _evidence(event["evidence"])
        self._session._note(event)
        if evidence.ended == "crashed" and self._is_first_crash(evidence.id):
            self._started.discard(evidence.id)
            if self._suspects and not self._started and self._waiting:
                self._next_suspect()
        else:
            self._finish(evidence)

    def _is_first_crash(self, name: str) -> bool:
        """Whether to run a probe once more, alone, after all others: a machine at its limits kills what is not to blame."""
        if name not in self._waiting or name in self._crashed:
            return False
        self._crashed.add(name)
        self._again.append(self._waiting.pop(name))
        return True

    def _run_again(self) -> None:
        """Once all others have ended: the next probe that crashed, alone."""
        if self._again and not self._waiting and not self._busy:
            spec = self._again.pop(0)
            self._waiting[spec.id] = spec
            self._send([spec], 1)

    def _finish(self, evidence: Evidence) -> None:
        if self._waiting.pop(evidence.id, None) is not None:
            self._keep(evidence)
        self._started.discard(evidence.id)
        if self._suspects and not self._started and self._waiting:
            self._next_suspect()

    def _keep(self, evidence: Evidence) -> None:
        if evidence.id in self._crashed and evidence.ended != "crashed":
            self._session.crashed_once.append(evidence.id)
        self.evidence.append(evidence)
        self._more.each(evidence)

    def _check_silence(self) -> None:
        silent = time.monotonic() - self._heard
        if self._started:
            if silent > self._limit:
                self._bury(f"said nothing for {silent:.0f} s")
            return
        where = self._process.stands_at()
        if where != self._stands_at:
            self._stands_at, self._stands_since = where, time.monotonic()
            self._session._progress(f"importing {self._stage}, at {where}")
        stuck = time.monotonic() - self._stands_since
        if where and stuck > STUCK and self._stage not in COMPILES:
            self._bury(f"hangs at {where}")
        elif silent > STARTUP:
            self._bury(f"said nothing for {silent:.0f} s" + (f", at {where}" if where else ""))

    def _bury(self, how: str) -> None:
        words = "" if self._stands_at else self._process.last_words()
        self._session._discard(self._worker)
        self._busy = 0
        if self._was_idle and self._stage == "starting":
            self._go_on()  # it died before it was asked: with its fork server, or for want of memory
            return
        during = "with the probe" if self._started else "while it started"
        if not self._started and self._stage != "starting":
            during = f"while importing {self._stage}"
        why = f"its Python {how} {during}" + (f": {words}" if words else "")
        running = [self._waiting[name] for name in self._started if name in self._waiting]
        if not running:
            for name in list(self._waiting):
                self._finish(Evidence(id=name, ended="crashed", why=why, during="load"))
        elif len(running) == 1:
            name = running[0].id
            self._started.clear()
            self._suspects = [spec for spec in self._suspects if spec.id != name]
            if not self._is_first_crash(name):
                self._waiting.pop(name)
                self._keep(Evidence(id=name, ended="crashed", why=why))
            self._go_on()
        else:
            self._suspects = running
            self._next_suspect()

    def _go_on(self) -> None:
        if self._suspects:
            self._next_suspect()
        elif self._waiting:
            self._send(list(self._waiting.values()), self._session.at_once)

    def _next_suspect(self) -> None:
        """Run one suspect alone; after the last, all that is left."""
        self._suspects = [spec for spec in self._suspects if spec.id in self._waiting]
        if self._suspects:
            self._send([self._suspects[0]], 1)
        else:
            self._send(list(self._waiting.values()), self._session.at_once)
