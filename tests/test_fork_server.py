"""Whoever waits for the process that workers are forked from is told when it is given up."""

from __future__ import annotations

import socket
import subprocess
import threading
import time

import pytest

from ckptdoctor.environment import fork_server as module
from ckptdoctor.environment.fork_server import ForkServer


@pytest.fixture
def silent(monkeypatch):
    """One whose process is there and says nothing, not even that it has gone."""
    monkeypatch.setattr(module, "ANSWER", 0.3)
    ends = []

    def start(*_, pass_fds, **__):
        ends.append(socket.socket(fileno=socket.dup(pass_fds[0])))
        return subprocess.Popen(["sleep", "60"], start_new_session=True)

    monkeypatch.setattr(module, "start", start)
    return ends


def test_who_waits_is_woken_when_no_answer_comes(silent, tmp_path):
    with ForkServer(tmp_path / "python", tmp_path) as made:
        ended = []
        waiting = threading.Thread(target=lambda: ended.append(made.status(4711, 30)))
        waiting.start()
        before = time.monotonic()

        assert made.fork() is None

        waiting.join(10)
        assert ended == [-9]
        assert time.monotonic() - before < 10
    silent[0].close()
