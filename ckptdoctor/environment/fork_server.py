"""One fork server of a target that has imported torch, from which workers are forked."""

from __future__ import annotations

import functools
import json
import os
import signal
import socket
import subprocess
import threading
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from ckptdoctor.environment.process import environment, start
from ckptdoctor.store.workspace import Workspace, hold, uninterrupted

READY = 600.0
"""Seconds that importing torch may take; a cold network disk takes minutes."""

ANSWER = 60.0
"""Seconds that a fork may take."""


class Forked:
    """A worker that was forked, in the place of a ``subprocess.Popen``."""

    def __init__(self, fork_server: ForkServer, pid: int, ends: tuple[IO[bytes], IO[bytes], IO[bytes]]) -> None:
        self.pid = pid
        self._fork_server = fork_server
        self.stdin: IO[bytes] | None
        self.stdout: IO[bytes] | None
        self.stderr: IO[bytes] | None
        self.stdin, self.stdout, self.stderr = ends

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status, negative for a signal.

        Raises:
            subprocess.TimeoutExpired: It has not ended in time.
        """
        return self._fork_server.status(self.pid, timeout)


class ForkServer:
    """Forks workers of one target. Use as a context manager; several threads may use it at once.

    It is to be made in a thread that outlives it: the kernel ends it together with the thread that started it.
    """

    def __init__(self, python: Path, cache: Path) -> None:
        self._workspace = Workspace()
        self._folder = self._workspace.folder
        (self._folder / "tmp").mkdir()
        self._wire, other = socket.socketpair()
        environ = environment(os.environ, self._folder, cache, [cache / "overlays"])
        hold(cache, "bytecode", "extensions")
        with other:
            fd = other.fileno()
            self._process = start(python, environ, self._folder, "--fork-server", str(fd), output=False, pass_fds=(fd,))
        self._news = threading.Condition()
        self._asking = threading.Lock()
        self._pids: deque[int] = deque()
        self._ended: dict[int, int] = {}
        self._loaded: frozenset[str] | None = None
        """Top-level modules that every worker shares; none while torch is being imported."""
        self._is_gone = False
        threading.Thread(target=self._listen, daemon=True).start()

    def __enter__(self) -> ForkServer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        with uninterrupted():
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._wire.close()
            self._workspace.remove()

    def suits(self, overlay: Path) -> bool:
        """Whether a worker with this overlay may be forked: it must not hold what is imported here already."""
        with self._news:
            self._news.wait_for(lambda: self._loaded is not None or self._is_gone, READY)
            return self._loaded is not None and not self._is_gone and not (_tops(overlay) & self._loaded)

    def fork(self) -> Forked | None:
        """A new worker, or nothing when the process is gone."""
        pipes = [os.pipe() for _ in range(3)]
        (request, ours_in), (ours_out, event), (ours_err, other) = pipes
        ends = (os.fdopen(ours_in, "wb"), os.fdopen(ours_out, "rb"), os.fdopen(ours_err, "rb"))
        pid = self._ask([request, event, other])
        for theirs in (request, event, other):
            os.close(theirs)
        if pid is None:
            for one in ends:
                one.close()
            return None
        return Forked(self, pid, ends)

    def _ask(self, descriptors: list[int]) -> int | None:
        with self._asking:
            with suppress(OSError):
                socket.send_fds(self._wire, [b"f"], descriptors)
                with self._news:
                    if self._news.wait_for(lambda: self._pids or self._is_gone, ANSWER) and self._pids:
                        return self._pids.popleft()
            self._give_up()  # an answer that comes later would be taken for another worker's
        return None

    def _give_up(self) -> None:
        with self._news:
            self._is_gone = True
            self._news.notify_all()

    def status(self, pid: int, timeout: float | None) -> int:
        """How a worker ended, negative for a signal.

        Raises:
            subprocess.TimeoutExpired: It has not ended in time.
        """
        with self._news:
            self._news.wait_for(lambda: pid in self._ended or self._is_gone, timeout)
            if pid in self._ended:
                return self._ended[pid]
            if self._is_gone:
                return -signal.SIGKILL  # the kernel ends the workers with it
        raise subprocess.TimeoutExpired(str(pid), timeout or 0)

    def _listen(self) -> None:
        with suppress(OSError, ValueError), self._wire.makefile("rb") as lines:
            for line in lines:
                self._hear(json.loads(line))
        self._give_up()

    def _hear(self, said: Mapping[str, Any]) -> None:
        with self._news:
            if "loaded" in said:
                self._loaded = frozenset(said["loaded"])
                self._is_gone = not said["fork"]
            elif "pid" in said:
                self._pids.append(said["pid"])
            else:
                self._ended[said["ended"]] = os.waitstatus_to_exitcode(said["status"])
            self._news.notify_all()


@functools.cache
def _tops(overlay: Path) -> frozenset[str]:
    """The top-level modules that a folder of packages holds."""
    return frozenset(name.partition(".")[0] for name in os.listdir(overlay) if not name.endswith(("-info", ".pth")))  # noqa: PTH208
