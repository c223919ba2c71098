"""The process from which workers are forked: it imports torch once, for as many combinations of packages as there are.

The doctor sends three descriptors for each worker over a socket: for requests, for events, and for what it prints.
What it reads back::

    {"fork": true, "loaded": ["torch", "numpy", ...]}   once: top-level modules that every worker will share
    {"pid": 4711}                                       for each worker, in the order of the requests
    {"ended": 4711, "status": 0}                        when it is gone, as ``os.waitpid`` puts it

Nothing of the stack but torch and what it imports itself is loaded here, so each worker may add other releases in an overlay.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import socket
import sys
from typing import Any

from . import importing, processes, worker

POLL = 0.05
"""Seconds between looks at workers that may have ended."""


def main() -> int:
    """Import torch, then fork a worker for each request until the doctor closes the socket."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the doctor sees to an interrupt
    processes.die_with_parent()
    wire = socket.socket(fileno=int(sys.argv[2]))
    wire.set_inheritable(False)
    gc.disable()
    with contextlib.suppress(Exception):  # each worker tries again, and reports it
        importing.import_torch()
    gc.freeze()
    gc.enable()
    _tell(wire, fork=processes.can_fork(), loaded=sorted({name.partition(".")[0] for name in sys.modules}))
    while _take_request(wire):
        _report_the_dead(wire)
    os._exit(0)


def _tell(wire: socket.socket, **said: Any) -> None:
    wire.sendall(json.dumps(said).encode() + b"\n")


def _take_request(wire: socket.socket) -> bool:
    """Fork a worker if one is asked for in time; whether the doctor is still there."""
    wire.settimeout(POLL)
    try:
        data, descriptors, _, _ = socket.recv_fds(wire, 1, 3)
    except (TimeoutError, socket.timeout):
        return True
    except OSError:
        return False
    finally:
        wire.settimeout(None)
    if not data:
        return False
    _tell(wire, pid=_fork(wire, descriptors))
    for one in descriptors:
        os.close(one)
    return True


def _fork(wire: socket.socket, descriptors: list[int]) -> int:
    fork_server = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    status = 70
    try:
        os.setsid()
        processes.die_with_parent()
        if os.getppid() != fork_server:
            os._exit(0)
        wire.close()
        requests_from, events_to, output = descriptors
        for number in (1, 2):
            os.dup2(output, number)
        os.close(output)
        status = worker.serve(requests_from, events_to)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(status)


def _report_the_dead(wire: socket.socket) -> None:
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            _tell(wire, ended=pid, status=status)
