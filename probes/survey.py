"""Probes of many model families: one process for each family, which runs the family's probes one after another.

A process for each probe costs several times as much as its step. What a probe leaves behind reaches the next one of its
family; tiny models with torch's own functions leave nothing that matters, and the doctor's audit runs some of them apart.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import selectors
import signal
import time
from typing import Any, Callable

from . import bridge, isolate, processes, starved

Run = Callable[[dict[str, Any], Callable[[dict[str, Any]], None]], dict[str, Any]]
"""Runs a spec and returns its evidence, telling parts of it as they come."""


class Family:
    """A process that runs the probes of one family, and what it has told so far."""

    def __init__(self, specs: list[dict[str, Any]], run: Run) -> None:
        self.limit = starved.Limit(sum(spec["timeout"] for spec in specs), time.monotonic())
        self.pipe, end = os.pipe()
        self._told = b""
        parent = os.getpid()
        self.pid = os.fork()
        if not self.pid:
            _in_child(specs, run, end, parent)
        os.close(end)
        os.set_blocking(self.pipe, False)

    def evidence(self) -> list[dict[str, Any]]:
        """What has come since the last call."""
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self.pipe, 1 << 20):
                self._told += data
        *lines, self._told = self._told.split(b"\n")
        return [json.loads(line) for line in lines]

    def is_over(self) -> bool:
        """Whether the process has ended; one that takes too long is ended."""
        if self.limit.is_over(self.pid, time.monotonic()):
            self.end()
            return True
        return bool(os.waitpid(self.pid, os.WNOHANG)[0])

    def end(self) -> None:
        """Kill the process and its group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)


def serve(
    specs: list[dict[str, Any]], at_once: int, channel: bridge.Channel, requests: bridge.Requests, run: Run
) -> bool:
    """Run all specs, those of some families at the same time; whether the doctor is still there at the end.

    A probe whose process dies or hangs, and those after it in the process, have no result.
    """
    waiting = [list(group) for _, group in itertools.groupby(specs, key=lambda spec: spec["model"])]
    running: list[Family] = []
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                running.append(Family(waiting.pop(0), run))
            _wait([one.pipe for one in running], requests)
            requests.look()
            if requests.closed:
                return False
            for one in list(running):
                is_over = one.is_over()
                for evidence in one.evidence():
                    channel.send("done", evidence=evidence, files=[])
                if is_over:
                    os.close(one.pipe)
                    running.remove(one)
    finally:
        for one in running:
            one.end()
    return True


def _wait(pipes: list[int], requests: bridge.Requests) -> None:
    """Until a process tells something or ends, or a moment has passed."""
    with selectors.DefaultSelector() as selector:
        for pipe in (requests.fileno(), *pipes):
            selector.register(pipe, selectors.EVENT_READ)
        selector.select(0.2)
    time.sleep(0.001)  # a pipe at its end is always ready: leave the process the time to end


def _in_child(specs: list[dict[str, Any]], run: Run, pipe: int, parent: int) -> None:
    """Run the specs and tell the evidence of each as it comes; never returns."""
    try:
        os.setsid()
        processes.die_with_parent()
        if os.getppid() == parent:
            for private in isolate.PRIVATE:
                os.close(private)
            nothing = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(nothing, stream)
            for spec in specs:
                told = json.dumps(run(spec, lambda part: None)).encode() + b"\n"
                while told:
                    told = told[os.write(pipe, told) :]
    finally:
        os._exit(0)
