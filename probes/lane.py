"""The process that the doctor talks to: it imports the stack once and forks a child for each probe.

One JSON object a line, both ways. Requests on standard input::

    {"hide": ["deepspeed"], "paths": ["/overlay"], "facts": true}   first, exactly once
    {"specs": [...], "workers": 2}                                  any number of times
    end of input                                                    close

Events on what was standard output when the process started (it is moved to a descriptor of its own, since the stack
prints)::

    {"event": "facts", "environment": {...}}
    {"event": "importing", "what": "torch"}
    {"event": "started", "id": "..."}
    {"event": "done", "evidence": {...}}
    {"event": "idle", "files": [...]}          all specs are done
"""

from __future__ import annotations

import gc
import json
import os
import selectors
import signal
import sys
import time
from typing import Any, Callable, Dict, List, Optional

from . import isolate, stack

OPENING = "CKPTDOCTOR_OPENING"
"""Environment variable through which a spawned child is told how its lane was opened."""

POLL = 0.05
"""Seconds between looks at time limits."""


class Channel:
    """Where events go: the process's first standard output, out of the reach of what prints."""

    def __init__(self) -> None:
        self._pipe = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.set_inheritable(self._pipe.fileno(), False)
        os.dup2(2, 1)

    def send(self, event: str, **fields: Any) -> None:
        """Write one event."""
        self._pipe.write(json.dumps({"event": event, **fields}) + "\n")
        self._pipe.flush()


class Requests:
    """Lines from standard input, without blocking while probes run."""

    def __init__(self) -> None:
        self._pipe = os.dup(0)
        os.set_inheritable(self._pipe, False)
        os.set_blocking(self._pipe, False)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        self._rest = b""
        self._waiting: List[Dict[str, Any]] = []
        self.closed = False

    def fileno(self) -> int:
        """For a selector."""
        return self._pipe

    def look(self) -> None:
        """Take in what has come, and notice the end of input."""
        try:
            while data := os.read(self._pipe, 65536):
                self._rest += data
            self.closed = True
        except BlockingIOError:
            pass
        *lines, self._rest = self._rest.split(b"\n")
        self._waiting += [json.loads(line) for line in lines if line.strip()]

    def wait(self) -> Optional[Dict[str, Any]]:
        """The next request, or nothing at the end of input."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._pipe, selectors.EVENT_READ)
            while not self._waiting and not self.closed:
                selector.select()
                self.look()
        return self._waiting.pop(0) if self._waiting else None


def main() -> int:
    """Serve the doctor until it closes the pipe."""
    if sys.argv[1:2] == ["--one"]:
        _open(json.loads(os.environ[OPENING]))
        isolate.in_child(json.loads(sys.argv[2]), _run, int(sys.argv[3]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the doctor sees to an interrupt
    isolate.die_with_parent()
    isolate.adopt_orphans()
    channel, requests = Channel(), Requests()
    opening = requests.wait()
    if opening is None:
        return 0
    _open(opening)
    if opening.get("facts"):
        channel.send("facts", environment=stack.facts())
    while (request := requests.wait()) is not None:
        prepare(request["specs"], channel)
        if not _serve(request["specs"], request["workers"], channel, requests):
            break
        channel.send("idle", files=isolate.files_of(sys.modules))
    _end_orphans()
    return 0


def _open(opening: Dict[str, Any]) -> None:
    os.environ[OPENING] = json.dumps(opening)
    # With None in sys.modules a package can be neither imported nor found: as if it were not installed.
    sys.modules.update(dict.fromkeys(opening["hide"]))  # type: ignore[arg-type]
    sys.path[:0] = opening["paths"]


def prepare(specs: List[Dict[str, Any]], channel: Channel) -> None:
    """Import what the specs share, so that no child has to; what fails here fails again in the child, as evidence."""
    _import("torch", channel, lambda: __import__("torch.utils.checkpoint"))
    for model in sorted({spec["model"] for spec in specs}):
        _import(f"transformers ({model})", channel, lambda name=model: _import_model(name))
    if any(spec["engine"].startswith("zero") or spec["function"] == "deepspeed" for spec in specs):
        from .engines import warm_up

        _import("deepspeed", channel, warm_up)
    _import("the probes", channel, _import_probes)
    gc.collect()
    gc.freeze()  # DeepSpeed collects garbage at every step of its set-up: let it not search all of the stack each time


def _import_model(name: str) -> None:
    from . import models

    if name == models.OWN:
        return
    if os.path.isdir(name):
        import transformers  # noqa: F401
    else:
        models.model_class(name)


def _import_probes() -> None:
    from . import places, step, tiny_glm4  # noqa: F401

    places.warm_up()


def _import(what: str, channel: Channel, load: Callable[[], Any]) -> None:
    channel.send("importing", what=what)
    try:
        load()
    except Exception as error:
        channel.send("broken", what=what, error=f"{type(error).__name__}: {error}"[:500])


def _serve(specs: List[Dict[str, Any]], workers: int, channel: Channel, requests: Requests) -> bool:
    """Run all specs, some at once; whether the doctor is still there at the end."""
    waiting, running = list(specs), list[isolate.Child]()
    fork = can_fork()
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                spec = waiting.pop(0)
                channel.send("started", id=spec["id"])
                running.append(isolate.Child(spec, _run, fork))
            _wait(running, requests)
            requests.look()
            if requests.closed:
                return False
            for child in list(running):
                child.read()
                envelope = child.poll()
                if envelope is not None:
                    running.remove(child)
                    channel.send("done", **envelope)
    finally:
        for child in running:
            child.abandon()
    return True


def _wait(running: List[isolate.Child], requests: Requests) -> None:
    """Until a child writes or ends, or a moment has passed."""
    with selectors.DefaultSelector() as selector:
        selector.register(requests.fileno(), selectors.EVENT_READ)
        for child in running:
            selector.register(child.result_pipe, selectors.EVENT_READ)
            selector.register(child.output_pipe, selectors.EVENT_READ)
        selector.select(POLL)
    time.sleep(0.001)  # a pipe at its end is always ready: leave the child the time to end


def _run(spec: Dict[str, Any]) -> Dict[str, Any]:
    from . import step

    return step.run(spec)


def can_fork() -> bool:
    """Whether children may be forked from this process: not once CUDA is in use, and not on macOS."""
    torch = sys.modules.get("torch")
    in_use = bool(torch and torch.cuda.is_initialized())
    return hasattr(os, "fork") and sys.platform != "darwin" and not in_use


def _end_orphans() -> None:
    """Kill what probes left running outside their process groups; this process has adopted it."""
    while True:
        children = _children()
        for pid in children:
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        if not children:
            return


def _children() -> List[int]:
    try:
        with open(f"/proc/{os.getpid()}/task/{os.getpid()}/children") as handle:
            return [int(pid) for pid in handle.read().split()]
    except OSError:
        return []
