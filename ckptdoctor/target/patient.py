"""The bridge to the patient: processes in the target that run probes, and what they report."""

from __future__ import annotations

import json
import os
import selectors
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from ckptdoctor import locations
from ckptdoctor.errors import TargetError
from ckptdoctor.evidence import Environment, Evidence, Spec
from ckptdoctor.wording import first_line

STARTUP = 600.0
"""Seconds that the target's Python may take to start and to import the stack; a cold network disk takes minutes."""

GRACE = 30.0
"""Seconds over the longest time limit after which a lane that says nothing is taken for dead."""

KEPT = 8000
"""Bytes of a lane's own output that are kept."""

Lane = tuple[str, ...]
"""A lane is named by the packages that are hidden in it."""

BARE: Lane = ("deepspeed",)
"""The lane without DeepSpeed: what fails in it is not DeepSpeed's doing."""

WHOLE: Lane = ()
"""The lane with everything that is installed."""

Progress = Callable[[str], None]


class Process:
    """One lane's process: lines of JSON out and in."""

    def __init__(self, python: Path, environ: Mapping[str, str], folder: Path, opening: dict[str, Any]) -> None:
        self.output = b""
        self._rest = b""
        try:
            self._process = subprocess.Popen(
                [str(python), str(locations.probes() / "__main__.py")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=dict(environ),
                cwd=folder,
                start_new_session=True,
            )
        except OSError as error:
            raise TargetError(
                f"{python} does not start: {error.strerror or error}.", "name the training environment with --python"
            ) from error
        self._events: list[dict[str, Any]] = []
        self._selector = selectors.DefaultSelector()
        for stream in (self._process.stdout, self._process.stderr):
            if stream:
                os.set_blocking(stream.fileno(), False)
                self._selector.register(stream, selectors.EVENT_READ)
        self.send(opening)

    def send(self, request: dict[str, Any]) -> None:
        """Write one request; a process that is gone is noticed when it is read from."""
        if self._process.stdin:
            with suppress(OSError):
                self._process.stdin.write(msgspec.json.encode(request) + b"\n")
                self._process.stdin.flush()

    def read(self, timeout: float) -> dict[str, Any] | None:
        """The next event; nothing when there was none in time.

        Raises:
            EOFError: The process has closed its side.
        """
        end = time.monotonic() + timeout
        while not self._events:
            left = end - time.monotonic()
            ready = self._selector.select(max(left, 0))
            if not ready:
                return None
            for key, _ in ready:
                self._take(key.fileobj)
        return self._events.pop(0)

    def _take(self, stream: Any) -> None:
        data = os.read(stream.fileno(), 65536)
        if not data:
            self._selector.unregister(stream)
        if stream is not self._process.stdout:
            self.output = (self.output + data)[-KEPT:]
            return
        if not data:
            raise EOFError
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if (event := _event(line)) is not None:
                self._events.append(event)
            else:  # printed by the target before the probes took over, by a sitecustomize for example
                self.output = (self.output + line + b"\n")[-KEPT:]

    def death(self) -> str:
        """How the process ended, once it has closed its side."""
        try:
            status = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return "closed its output"
        if status < 0:
            with suppress(ValueError):
                return f"was killed by {signal.Signals(-status).name}"
        return f"ended with exit status {status}"

    def last_words(self) -> str:
        """The last line that it wrote to standard error."""
        with suppress(OSError, EOFError):
            while self.read(0.05):
                pass
        lines = [line for line in self.output.decode("utf-8", "replace").splitlines() if line.strip()]
        return lines[-1].strip()[:300] if lines else ""

    def hang_up(self) -> None:
        """Tell it that there is nothing more to do."""
        with suppress(OSError):
            if self._process.stdin:
                self._process.stdin.close()

    def close(self) -> None:
        """Let it clean up after its probes, then end it and all in its session."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=2)
        self.kill()

    def kill(self) -> None:
        """End it at once; its probes have asked the kernel to end with it."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._selector.close()
        for stream in (self._process.stdout, self._process.stderr):
            if stream:
                stream.close()


class Patient:
    """The target while it is examined. Use as a context manager: it leaves no process and no folder behind."""

    def __init__(
        self, python: Path, overlay: Path | None, workers: int, cache: Path, progress: Progress = lambda _: None
    ) -> None:
        self.python = python
        self.files: set[str] = set()
        """Every file from which the probes' processes loaded a module."""
        self._overlay = overlay
        self._workers = workers
        self._progress = progress
        self._lanes: dict[Lane, Process] = {}
        self._folder = Path(tempfile.mkdtemp(prefix="ckptdoctor-"))
        (self._folder / "work").mkdir()
        (self._folder / "tmp").mkdir()
        self._environ = environment(os.environ, self._folder, cache, [overlay] if overlay else [])

    def __enter__(self) -> Patient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._lanes.values():
            process.hang_up()
        for process in self._lanes.values():
            process.close()
        self._lanes.clear()
        shutil.rmtree(self._folder, ignore_errors=True)

    def look(self) -> Environment:
        """What is installed in the target, read without importing it.

        Raises:
            TargetError: Its Python does not start, or is not one that the probes run on.
        """
        self._progress("looking at what is installed")
        process = self._open(BARE, facts=True)
        try:
            event = process.read(STARTUP)
        except EOFError:
            raise self._does_not_start(process) from None
        if event is None:
            raise TargetError(f"{self.python} did not start within {STARTUP:g} s.", "is its disk very slow?")
        return msgspec.convert(event["environment"], Environment, strict=False)

    def _does_not_start(self, process: Process) -> TargetError:
        death, words = process.death(), process.last_words()
        self._lanes.pop(BARE, None)
        return TargetError(
            f"{self.python} {death} before anything was imported" + (f": {words}." if words else "."),
            f"try `{self.python} -c 'print(1)'`; the target needs Python 3.9 or later",
        )

    def examine(
        self, specs: Mapping[Lane, Sequence[Spec]], replacements: Mapping[str, str] | None = None
    ) -> list[Evidence]:
        """Run probes, every lane's at the same time as the others'.

        Args:
            specs: What to run, by lane.
            replacements: For a checkpoint function, by its name: a file to load in place of the installed one.

        Returns:
            One piece of evidence a spec, whatever became of it.
        """
        rounds = [_Round(self, lane, list(wanted), replacements or {}) for lane, wanted in specs.items() if wanted]
        while any(not one.is_done for one in rounds):
            for one in rounds:
                one.advance(timeout=0.02 if len(rounds) > 1 else 0.5)
        return [evidence for one in rounds for evidence in one.evidence]

    def write(self, name: str, text: str) -> Path:
        """Put a file into the run's own folder, for a probe to load in place of an installed one."""
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        (folder / name).write_bytes(text.encode())
        return folder / name

    def _open(self, lane: Lane, facts: bool = False) -> Process:
        if lane not in self._lanes:
            opening = {"hide": list(lane), "paths": [str(self._overlay)] if self._overlay else [], "facts": facts}
            self._lanes[lane] = Process(self.python, self._environ, self._folder / "work", opening)
        return self._lanes[lane]

    def _check_broken(self, event: dict[str, Any]) -> None:
        """Give up when torch itself does not import; anything else that does not is its own probes' evidence."""
        if event["what"] == "torch":
            error = event["error"]
            raise TargetError(
                f"torch does not import in {self.python}: {error['type']}: {first_line(error['message'])}",
                f"try `{self.python} -c 'import torch'`; reinstall torch there, or name another target with --python",
            )

    def _note(self, files: Iterable[str]) -> None:
        self.files.update(file for file in files if not file.startswith(str(self._folder)))

    def _discard(self, lane: Lane) -> None:
        self._lanes.pop(lane).kill()


class _Round:
    """The probes of one lane, until all have come to an end.

    A lane that dies takes running probes with it. It is opened anew for those that were not to blame, and the suspects
    are run one at a time, so that only the one that kills its lane is reported as crashed.
    """

    def __init__(self, patient: Patient, lane: Lane, specs: list[Spec], replacements: Mapping[str, str]) -> None:
        self.evidence: list[Evidence] = []
        self._patient, self._lane, self._replacements = patient, lane, replacements
        self._waiting = {spec.id: spec for spec in specs}
        self._started: set[str] = set()
        self._suspects: list[Spec] = []
        self._stage = "starting"
        self._busy = 0
        """Requests to the lane that it has not reported idle after."""
        self._limit = max(spec.timeout for spec in specs) + GRACE
        self._send(list(self._waiting.values()), patient._workers)

    @property
    def is_done(self) -> bool:
        """Whether every probe has its evidence, and the lane has nothing more to say."""
        return not self._waiting and not self._busy

    def advance(self, timeout: float) -> None:
        """Take the events that come within ``timeout`` seconds."""
        try:
            while not self.is_done:
                event = self._process.read(timeout)
                if event is None:
                    self._check_silence()
                    return
                self._heard = time.monotonic()
                self._handle(event)
        except EOFError:
            self._bury(self._process.death())

    def _send(self, specs: list[Spec], workers: int) -> None:
        self._process = self._patient._open(self._lane)
        self._started.clear()
        self._busy += 1
        self._heard = time.monotonic()
        wanted = [
            {**_whole(spec), "id": spec.id, "replacement": self._replacements.get(spec.function, "")} for spec in specs
        ]
        self._process.send({"specs": wanted, "workers": workers})

    def _handle(self, event: dict[str, Any]) -> None:
        kind = event["event"]
        if kind == "importing":
            self._stage = event["what"]
            self._patient._progress(f"importing {event['what']}")
        elif kind == "broken":
            self._patient._check_broken(event)
        elif kind == "started":
            self._started.add(event["id"])
            self._patient._progress(f"running {event['id']}")
        elif kind == "done":
            self._take(event)
        elif kind == "idle":
            self._busy -= 1
            self._patient._note(event["files"])

    def _take(self, event: dict[str, Any]) -> None:
        evidence = msgspec.convert(event["evidence"], Evidence, strict=False)
        self._patient._note(event["files"])
        self._finish(evidence)

    def _finish(self, evidence: Evidence) -> None:
        if self._waiting.pop(evidence.id, None) is not None:
            self.evidence.append(evidence)
        self._started.discard(evidence.id)
        if self._suspects and not self._started and self._waiting:
            self._next_suspect()

    def _check_silence(self) -> None:
        silent = time.monotonic() - self._heard
        if silent > (self._limit if self._started else STARTUP):
            self._bury(f"said nothing for {silent:.0f} s")

    def _bury(self, how: str) -> None:
        words = self._process.last_words()
        self._patient._discard(self._lane)
        self._busy = 0
        during = f"while importing {self._stage}" if not self._started else "with the probe"
        why = f"its Python {how} {during}" + (f": {words}" if words else "")
        running = [self._waiting[name] for name in self._started if name in self._waiting]
        if not running:
            for name in list(self._waiting):
                self._finish(Evidence(id=name, ended="crashed", why=why, during="load"))
        elif len(running) == 1:
            name = running[0].id
            self._started.clear()
            self._suspects = [spec for spec in self._suspects if spec.id != name]
            self._waiting.pop(name)
            self.evidence.append(Evidence(id=name, ended="crashed", why=why))
            self._go_on()
        else:
            self._suspects = running
            self._next_suspect()

    def _go_on(self) -> None:
        if self._suspects:
            self._next_suspect()
        elif self._waiting:
            self._send(list(self._waiting.values()), self._patient._workers)

    def _next_suspect(self) -> None:
        """Run one suspect alone; after the last, all that is left."""
        self._suspects = [spec for spec in self._suspects if spec.id in self._waiting]
        if self._suspects:
            self._send([self._suspects[0]], 1)
        else:
            self._send(list(self._waiting.values()), self._patient._workers)


def _event(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None


def _whole(spec: Spec) -> dict[str, Any]:
    """Every field of a spec, defaults too: the patient's side knows none."""
    return {name: getattr(spec, name) for name in spec.__struct_fields__}


def environment(environ: Mapping[str, str], folder: Path, cache: Path, ours: Iterable[Path]) -> dict[str, str]:
    """The environment variables of the patient's processes: the user's own, made safe.

    Empty entries of ``PYTHONPATH`` would put the current folder among the packages, and relative ones would change their
    meaning with it. What the stack would write to the user's home goes to the run's own folder.
    """
    paths = [str(Path(entry).absolute()) for entry in environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    made = {key: value for key, value in environ.items() if key not in ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP")}
    made.update(
        {
            "CKPTDOCTOR_OWN": os.pathsep.join(map(str, [locations.probes(), *ours])),
            "CKPTDOCTOR_BYTECODE": str(cache / "bytecode"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
            "PYTHONIOENCODING": "utf-8",
            "TMPDIR": str(folder / "tmp"),
            "TORCH_EXTENSIONS_DIR": str(cache / "extensions"),
            "TRITON_CACHE_DIR": str(folder / "tmp" / "triton"),
            "TORCHINDUCTOR_CACHE_DIR": str(folder / "tmp" / "inductor"),
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
        }
    )
    # One thread a process: probes run side by side, and a process with one thread is safe to fork.
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        made.setdefault(variable, "1")
    if paths:
        made["PYTHONPATH"] = os.pathsep.join(paths)
    return made
