"""One probe's own process: its pipes, its time limit, its end."""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import signal
import subprocess
import sys
import time
from typing import Any, Callable

from . import imported, reads, starved
from .processes import die_with_parent
from .shortages import ran_out

KEPT = 8192
"""Bytes of output that are kept from the beginning, and as many from the end."""

DUMP = 2.0
"""Seconds before the time limit at which a hanging probe prints where it hangs."""

PRIVATE: set[int] = set()
"""Descriptors of the worker's own, which a probe must not write to."""

Run = Callable[[dict[str, Any], Callable[[dict[str, Any]], None]], dict[str, Any]]
"""Runs a spec and returns its evidence, telling parts of it as they come."""


class Output:
    """The head and the tail of what a probe prints, however much that is."""

    def __init__(self) -> None:
        self.head, self.tail, self.dropped = b"", b"", 0

    def add(self, data: bytes) -> None:
        """Take more of it."""
        room = KEPT - len(self.head)
        self.head += data[:room]
        self.tail += data[room:] if room > 0 else data
        excess = len(self.tail) - KEPT
        if excess > 0:
            self.tail, self.dropped = self.tail[excess:], self.dropped + excess

    def text(self) -> str:
        """What was kept."""
        between = f"\n[... {self.dropped} bytes left out ...]\n".encode() if self.dropped else b""
        return (self.head + between + self.tail).decode("utf-8", "replace")


class Child:
    """A process that runs one probe."""

    def __init__(self, spec: dict[str, Any], run: Run, fork: bool) -> None:
        self.spec = spec
        self.output = Output()
        self.result = b""
        self.limit = starved.Limit(spec["timeout"], time.monotonic())
        self.result_pipe, result_end = os.pipe()
        try:
            self.output_pipe, output_end = os.pipe()
        except OSError:
            os.close(self.result_pipe)
            os.close(result_end)
            raise
        for pipe in (self.result_pipe, self.output_pipe):
            os.set_blocking(pipe, False)
        start = _fork if fork else _spawn
        try:
            self.pid = start(spec, run, result_end, output_end)
        except OSError:
            os.close(self.result_pipe)
            os.close(self.output_pipe)
            raise
        finally:
            os.close(result_end)
            os.close(output_end)

    def read(self) -> None:
        """Take what lies in the pipes."""
        for data in _available(self.result_pipe):
            self.result += data
        for data in _available(self.output_pipe):
            self.output.add(data)

    def poll(self) -> dict[str, Any] | None:
        """The envelope with the evidence, once the process has ended; nothing while it runs."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid:
            return self._end(status, timeout=False)
        if self.limit.is_over(self.pid, time.monotonic()):
            self.kill()
            _, status = os.waitpid(self.pid, 0)
            return self._end(status, timeout=True)
        return None

    def kill(self) -> None:
        """End the process and all that it started in its group."""
        for kill in (os.killpg, os.kill):
            try:
                kill(self.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue

    def abandon(self) -> None:
        """End it without waiting for a result."""
        self.kill()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)

    def _end(self, status: int, timeout: bool) -> dict[str, Any]:
        self.kill()  # what the probe started and left behind
        self.read()
        os.close(self.result_pipe)
        os.close(self.output_pipe)
        *told, last = self.result.split(b"\n")
        envelope = _parse(last)
        if timeout or envelope is None:
            why = self._why_late() if timeout else _how_it_died(status)
            evidence = {"id": self.spec["id"], "during": "load"}
            for part in told:
                evidence.update(json.loads(part))
            evidence.update(ended="timeout" if timeout else "crashed", why=why)
            envelope = {"evidence": evidence, "files": []}
        if envelope["evidence"]["ended"] != "returned":
            envelope["evidence"]["output"] = self.output.text()
        return envelope

    def _why_late(self) -> str:
        starved = self.limit.starved
        waited = f", besides {starved:.0f} s in which other processes had the processors" if starved >= 1 else ""
        return f"no result after {self.spec['timeout']:g} s{waited}"


def dump_later(seconds: float | None, repeat: bool = False) -> None:
    """Print where all threads stand after a time, or never; where no thread can be started, never."""
    faulthandler.cancel_dump_traceback_later()
    if seconds is not None:
        with contextlib.suppress(RuntimeError):
            faulthandler.dump_traceback_later(seconds, repeat=repeat, file=2)


def in_child(spec: dict[str, Any], run: Run, result_end: int) -> None:
    """Run a probe in this process and write the envelope; never returns."""
    status = 0
    try:
        newest = imported.newest()
        reads.watch_variables()
        reads.watch_files()
        dump_later(max(spec["timeout"] - DUMP, 0.1))
        evidence = run(spec, lambda part: _write(result_end, json.dumps(part).encode() + b"\n"))
        faulthandler.cancel_dump_traceback_later()
        envelope = {"evidence": evidence, "files": files_of(imported.since(newest))}
        envelope["reads"] = reads.told()
        _write(result_end, json.dumps(envelope).encode())
    except BaseException as error:
        status = 70
        with contextlib.suppress(BaseException):
            import traceback

            os.write(2, traceback.format_exc().encode("utf-8", "replace"))
        with contextlib.suppress(BaseException):
            if out := ran_out(error):
                evidence = {"id": spec["id"], "ended": "skipped", "why": out, "unfit": True}
                envelope = {"evidence": evidence, "files": []}
                _write(result_end, b"\n" + json.dumps(envelope).encode())
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        # No clean-up of the target's own: an exit handler that hangs or fails is not what is being judged.
        os._exit(status)


def files_of(names: Any) -> list[str]:
    """Files from which modules were loaded."""
    files = (getattr(sys.modules.get(name), "__file__", None) for name in list(names))
    return [file for file in files if isinstance(file, str)]


def _fork(spec: dict[str, Any], run: Run, result_end: int, output_end: int) -> int:
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        die_with_parent()
        if os.getppid() != parent:
            os._exit(0)
        _become(output_end)
        faulthandler.enable(file=2)  # sys.stderr may be anything, or nothing
    except BaseException:
        os._exit(71)
    in_child(spec, run, result_end)
    raise AssertionError("unreachable")


def _become(output_end: int) -> None:
    """Take the pipe as standard output and error, nothing as input, and the parent's other pipes away."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    for private in PRIVATE:
        os.close(private)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(output_end, 1)
    os.dup2(output_end, 2)


def _spawn(spec: dict[str, Any], run: Run, result_end: int, output_end: int) -> int:
    """A fresh interpreter, for platforms and stacks in which a fork is not safe."""
    main = os.path.join(os.path.dirname(os.path.abspath(__file__)), "__main__.py")
    process = subprocess.Popen(
        [sys.executable, main, "--one", json.dumps(spec), str(result_end)],
        stdin=subprocess.DEVNULL,
        stdout=output_end,
        stderr=output_end,
        pass_fds=(result_end,),
        start_new_session=True,
    )
    process.returncode = 0  # it is waited for by its number, not through this object
    return process.pid


def _available(pipe: int) -> Any:
    while True:
        try:
            data = os.read(pipe, 65536)
        except BlockingIOError:
            return
        if not data:
            return
        yield data


def _write(pipe: int, data: bytes) -> None:
    while data:
        data = data[os.write(pipe, data) :]


def _parse(result: bytes) -> dict[str, Any] | None:
    try:
        envelope = json.loads(result)
    except ValueError:
        return None
    return envelope if isinstance(envelope, dict) and "evidence" in envelope else None


KILLED: dict[int, str] = {
    signal.SIGKILL: ", as the system does when memory runs out",
    signal.SIGBUS: ", as happens when shared memory (/dev/shm) or a disk is full",
}
"""What a signal may mean, by its number."""


def _how_it_died(status: int) -> str:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            return f"killed by {signal.Signals(number).name}{KILLED.get(number, '')}"
        except ValueError:
            return f"killed by signal {number}"
    return f"the process ended with exit status {os.WEXITSTATUS(status)} and no result"
