"""Processes of the target, and the lines of JSON that are exchanged with them."""

from __future__ import annotations

import errno
import json
import os
import re
import selectors
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Protocol, cast

from ckptdoctor.errors import TargetError
from ckptdoctor.model.encoding import encode_exactly
from ckptdoctor.store import locations

_STANDS = re.compile(rb'Timeout \(.*\)!\nThread .*\(most recent call first\):\n  File "(.*)", line (\d+) in (.*)\n')
"""The innermost frame, as Python's faulthandler prints it."""

KEPT = 32000
"""Bytes of a process's own output that are kept."""


class Started(Protocol):
    """A running process, as ``subprocess.Popen`` has it."""

    stdin: IO[bytes] | None
    stdout: IO[bytes] | None
    stderr: IO[bytes] | None
    pid: int

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status, negative for a signal."""


def start(
    python: Path,
    environ: Mapping[str, str],
    folder: Path,
    *arguments: str,
    output: bool = True,
    pass_fds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start the probes in a fresh interpreter of the target's.

    Args:
        python: The target's interpreter.
        environ: All of its environment variables.
        folder: Its current folder.
        arguments: What the process is for.
        output: Whether what it prints is wanted; it comes as its standard output.
        pass_fds: Descriptors that it inherits.

    Raises:
        TargetError: It cannot be started.
    """
    try:
        return subprocess.Popen(
            # -B also where the interpreter ignores environment variables (-I, -E), as a wrapper script may have it.
            [str(python), "-B", str(locations.probes() / "__main__.py"), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if output else subprocess.DEVNULL,
            stderr=subprocess.STDOUT if output else subprocess.DEVNULL,
            env=dict(environ),
            cwd=folder,
            start_new_session=True,
            pass_fds=pass_fds,
        )
    except OSError as error:
        raise does_not_start(python, error, "name the training environment with --python") from error


def does_not_start(program: object, error: OSError, otherwise: str) -> TargetError:
    """What to raise when a program cannot be started.

    Args:
        program: The program.
        error: What the operating system says.
        otherwise: The hint, where the machine does not lack anything.
    """
    return TargetError(f"{program} does not start: {error.strerror or error}.", _why_not(error) or otherwise)


def _why_not(error: OSError) -> str:
    if error.errno == errno.E2BIG:
        return "unset large environment variables (`env | wc -c` counts their bytes), or give fewer arguments"
    if error.errno in (errno.EAGAIN, errno.ENOMEM):
        return "raise the limits on processes and memory (`ulimit -u`, `ulimit -v`, or the container's)"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return "raise the limit on open files: `ulimit -n 1024`"
    return ""


def start_worker(python: Path, environ: Mapping[str, str], folder: Path) -> subprocess.Popen[bytes]:
    """Start a worker in a fresh interpreter, with pipes of its own for requests and events.

    Its standard streams belong to the environment, which may print anything, and at any time, before the probes' first line.

    Raises:
        TargetError: It cannot be started.
    """
    (request, ours_in), (ours_out, event) = os.pipe(), os.pipe()
    try:
        process = start(python, environ, folder, "--worker", str(request), str(event), pass_fds=(request, event))
    except BaseException:
        os.close(ours_in)
        os.close(ours_out)
        raise
    finally:
        os.close(request)
        os.close(event)
    process.stderr = process.stdout
    process.stdin, process.stdout = os.fdopen(ours_in, "wb"), os.fdopen(ours_out, "rb")
    return process


class Process:
    """One worker's process: lines of JSON out and in."""

    def __init__(self, started: Started, opening: dict[str, Any]) -> None:
        self.output = b""
        self._rest = b""
        self._process = started
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
                self._process.stdin.write(encode_exactly(request) + b"\n")
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
            else:  # something wrote to a descriptor that it did not open
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
        """The last line that it printed."""
        with suppress(OSError, EOFError):
            while self.read(0.05):
                pass
        lines = [line for line in self.output.decode("utf-8", "replace").splitlines() if line.strip()]
        return lines[-1].strip()[:300] if lines else ""

    def stands_at(self) -> str:
        """The line that an import which takes long stands at, as far as it has been told; ``file.py:12 in function``."""
        found = _STANDS.findall(self.output)
        if not found:
            return ""
        file, line, function = (part.decode("utf-8", "replace") for part in found[-1])
        return f"{file}:{line} in {function}"

    def forget_where(self) -> None:
        """What was printed of an earlier import says nothing of the next."""
        self.output = _STANDS.sub(b"", self.output)

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
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            with suppress(OSError):
                if stream:
                    stream.close()


FIELDS: Mapping[str, Mapping[str, type | tuple[type, ...]]] = {
    "facts": {"environment": dict},
    "importing": {"what": str},
    "broken": {"what": str, "error": dict},
    "started": {"id": str},
    "done": {"evidence": dict, "files": list},
    "idle": {"files": list},
}
"""Events, and the fields that each has."""


def _event(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    fields = FIELDS.get(event["event"]) if isinstance(event, dict) and isinstance(event.get("event"), str) else None
    if fields is None or not all(isinstance(event.get(name), kind) for name, kind in fields.items()):
        return None
    return cast("dict[str, Any]", event)


_NOT_PASSED_ON = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "CKPTDOCTOR_DO", "CKPTDOCTOR_EVIDENCE")
"""Variables that the target's processes do not get as they are, or at all: the last two are of a job that is watched."""


def environment(
    environ: Mapping[str, str], folder: Path, cache: Path, ours: Iterable[Path], adapted: bool = False
) -> dict[str, str]:
    """The environment variables of the target's processes: the user's own, made safe.

    Empty entries of ``PYTHONPATH`` would put the current folder among the packages, and relative ones would change their
    meaning with it. What the stack would write to the user's home goes to the run's own folder. The hook of ``ckptdoctor run``
    would hide the very faults that are looked for: it is there only where it is what is tried.
    """
    hook = locations.probes() / "no_touch"
    paths = [str(Path(entry).absolute()) for entry in environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    paths = [*([str(hook)] if adapted else []), *(path for path in paths if path != str(hook))]
    made = {key: value for key, value in environ.items() if key not in _NOT_PASSED_ON}
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
