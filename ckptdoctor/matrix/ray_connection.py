"""The process that talks to a Ray cluster, ``ray_driver``, and the lines that are exchanged with it."""

from __future__ import annotations

import importlib.util
import os
import queue
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from ckptdoctor.errors import TargetError, UsageFault
from ckptdoctor.matrix.ray_messages import CODE, Answer, Connect, Request
from ckptdoctor.model.encoding import encode
from ckptdoctor.store import locations
from ckptdoctor.store.workspace import Workspace, uninterrupted

CLOSING = 15.0
"""Seconds that the process has to end."""

AGAIN = "the results so far are kept: run the same command again to continue"

RECONNECT = "20"
"""Seconds that Ray looks for a cluster whose head is gone, unless its own variable says so; Ray's default is a minute."""


class Connection:
    """A connection to a Ray cluster."""

    def __init__(self, connect: Connect) -> None:
        """Start to connect.

        Raises:
            UsageFault: Ray is not installed, or nothing answers at the address.
        """
        if importlib.util.find_spec("ray") is None:
            raise UsageFault("Ray is not installed beside ckptdoctor.", "install it: pip install 'ckptdoctor[ray]'")
        _require_answer(connect.address)
        self._answers: queue.SimpleQueue[Answer | None] = queue.SimpleQueue()
        self._has_answered = False
        self._workspace = Workspace()
        try:
            self._process = self._start()
        except BaseException:
            self._workspace.remove()
            raise
        threading.Thread(target=self._listen, daemon=True).start()
        self.ask(connect)

    def ask(self, request: Request) -> None:
        """Pass a request on."""
        with suppress(OSError):  # that the process is gone is noticed when it is read from
            self._process.stdin.write(encode(request) + b"\n")  # type: ignore[union-attr]
            self._process.stdin.flush()  # type: ignore[union-attr]

    def hear(self, timeout: float) -> Answer | None:
        """The next answer, if it comes in time.

        Raises:
            TargetError: The process is gone, as it is when the cluster is.
        """
        try:
            answer = self._answers.get(timeout=timeout)
        except queue.Empty:
            return None
        if answer is None:
            self._answers.put(None)
            raise TargetError(f"The Ray cluster is gone{self._last_words()}.", AGAIN)
        return answer

    def close(self) -> None:
        """End what is still running on the nodes, and leave nothing behind."""
        with uninterrupted():
            with suppress(OSError):
                self._process.stdin.close()  # type: ignore[union-attr]
            with suppress(subprocess.TimeoutExpired):  # one that has not connected yet has nothing to end
                self._process.wait(CLOSING if self._has_answered else 0)
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._workspace.remove()

    def _listen(self) -> None:
        with suppress(OSError, ValueError):
            for line in self._process.stdout or ():
                self._has_answered = True
                self._answers.put(msgspec.json.decode(line, type=Answer))
        self._answers.put(None)

    def _start(self) -> subprocess.Popen[bytes]:
        """Start it in a folder with a copy of ckptdoctor, which Ray sends to the nodes. It imports what is installed here."""
        installed, copied = Path(__file__).parents[1], self._workspace.folder / CODE
        hidden = shutil.ignore_patterns("__pycache__", "_probes")
        shutil.copytree(installed, copied, ignore=hidden)
        shutil.copytree(locations.probes(), copied / "_probes", ignore=hidden)
        environ = {
            "RAY_gcs_rpc_server_reconnect_timeout_s": RECONNECT,
            **os.environ,
            "PYTHONPATH": str(installed.parent),
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        with self._log.open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "ckptdoctor.matrix.ray_driver"],
                cwd=self._workspace.folder,
                env=environ,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )

    @property
    def _log(self) -> Path:
        return self._workspace.folder / "log"

    def _last_words(self) -> str:
        """The last error that Ray's process printed."""
        with suppress(OSError):
            lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
            errors = [line for line in lines if re.match(r"[\w.]+(?:Error|Exception): \S", line)]
            return f": {errors[-1].rstrip('.')[:300]}" if errors else ""
        return ""


def _require_answer(address: str) -> None:
    """Refuse an address at which nothing answers: Ray would try for ever."""
    if address == "auto":
        return
    try:
        parts = urlsplit(address if "://" in address else f"//{address}")
        host, port = parts.hostname or "", parts.port or (10001 if parts.scheme == "ray" else 6379)
        if not host:
            raise ValueError
    except ValueError:
        raise UsageFault(
            f"'{address}' is no address of a Ray cluster.", "write it as HOST:PORT, e.g. 10.0.0.1:6379"
        ) from None
    try:
        socket.create_connection((host, port), timeout=10).close()
    except OSError as error:
        raise UsageFault(
            f"No Ray cluster answers at {host}:{port}: {error.strerror or error}.",
            "give the address that `ray start --head` printed",
        ) from error
