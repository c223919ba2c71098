"""The process that the doctor talks to: it imports the stack once and forks a child for each probe.

One JSON object a line, both ways. Requests on a descriptor of their own::

    {"hide": ["deepspeed"], "paths": ["/overlay"], "facts": true, "look": 30, "catalog": {...}}   first, exactly once
                                                     (look: seconds)
    {"specs": [...], "workers": 2}                                  any number of times
    end of input                                                    close

Events on a descriptor of their own, since the environment may print anything on the standard ones::

    {"event": "facts", "environment": {...}, "requires": {"accelerate": ["torch>=2.0.0"]}}
    {"event": "importing", "what": "torch"}
    {"event": "started", "id": "..."}
    {"event": "done", "evidence": {...}}
    {"event": "idle", "files": [...]}          all specs are done
"""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import gc
import json
import os
import selectors
import signal
import sys
import time
from typing import Any, Callable

from . import catalog, isolate, loading, places, ranks, reads, stack

OPENING = "CKPTDOCTOR_OPENING"
"""Environment variable through which a spawned child is told how its lane was opened."""

BROKEN: dict[str, dict[str, Any]] = {}
"""What could not be imported, with the error as evidence."""

POLL = 0.05
"""Seconds between looks at time limits."""


class Channel:
    """Where events go, out of the reach of what prints."""

    def __init__(self, descriptor: int) -> None:
        self._pipe = os.fdopen(_moved(descriptor), "w", encoding="utf-8")
        isolate.PRIVATE.add(self._pipe.fileno())

    def send(self, event: str, **fields: Any) -> None:
        """Write one event; that the doctor is gone is noticed where requests come from, in time to clean up."""
        with contextlib.suppress(BrokenPipeError):
            self._pipe.write(json.dumps({"event": event, **fields}) + "\n")
            self._pipe.flush()


class Requests:
    """Lines of requests, without blocking while probes run."""

    def __init__(self, descriptor: int) -> None:
        self._pipe = _moved(descriptor)
        os.set_blocking(self._pipe, False)
        isolate.PRIVATE.add(self._pipe)
        self._rest = b""
        self._waiting: list[dict[str, Any]] = []
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

    def wait(self) -> dict[str, Any] | None:
        """The next request, or nothing at the end of input."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._pipe, selectors.EVENT_READ)
            while not self._waiting and not self.closed:
                selector.select()
                self.look()
        return self._waiting.pop(0) if self._waiting else None


def _moved(descriptor: int) -> int:
    """A descriptor that no child inherits, in the place of one that came with the process."""
    moved = os.dup(descriptor)  # not inheritable, as all that Python opens
    os.close(descriptor)
    return moved


def main() -> int:
    """Run one probe or one rank of it in this process, or serve the doctor."""
    if sys.argv[1:2] == ["--one"]:
        _open(json.loads(os.environ[OPENING]))
        isolate.in_child(json.loads(sys.argv[2]), _run, int(sys.argv[3]))
    if sys.argv[1:2] == ["--rank"]:
        _open(json.loads(os.environ[OPENING]))
        status = ranks.in_rank(json.loads(sys.argv[2]), _step, sys.argv[3])
        os._exit(status)  # without what DeepSpeed and torch would still say to ranks that are gone
    return serve(int(sys.argv[2]), int(sys.argv[3]))


def serve(requests_from: int, events_to: int) -> int:
    """Serve the doctor until it closes the pipe.

    Args:
        requests_from: The descriptor on which requests come.
        events_to: The one for events.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the doctor sees to an interrupt
    isolate.die_with_parent()
    isolate.adopt_orphans()
    channel, requests = Channel(events_to), Requests(requests_from)
    opening = requests.wait()
    if opening is None:
        return 0
    _open(opening)
    reads.watch_variables()
    if opening.get("facts"):
        environment, requires = stack.facts()
        channel.send("facts", environment={**environment, "trainers": loading.available()}, requires=requires)
    while (request := requests.wait()) is not None:
        prepare(request["specs"], channel)
        if not _serve(request["specs"], request["workers"], channel, requests):
            break
        channel.send("idle", files=isolate.files_of(sys.modules), reads=reads.told())
    _end_orphans()
    os._exit(0)  # taking the stack's modules apart at exit costs as much as some probes


def _open(opening: dict[str, Any]) -> None:
    """Take in the catalog, hide packages, and put an overlay first."""
    os.environ[OPENING] = json.dumps(opening)
    catalog.take(opening["catalog"])
    # With None in sys.modules a package can be neither imported nor found: as if it were not installed.
    sys.modules.update(dict.fromkeys(opening["hide"]))
    sys.path[:0] = opening["paths"]


def prepare(specs: list[dict[str, Any]], channel: Channel) -> None:
    """Import what the specs share, so that no child has to; what fails here is each child's evidence."""
    gc.disable()  # importing makes hundreds of thousands of objects and no garbage
    _import("torch", channel, import_torch)
    for model in sorted({spec["model"] for spec in specs}):
        _import(model, channel, functools.partial(_import_model, model))
    if any(_needs_deepspeed(spec) for spec in specs):
        _import("deepspeed", channel, _import_deepspeed)
    _import("the probes", channel, _import_probes)
    gc.freeze()  # DeepSpeed collects garbage at every step of its set-up: let it not search all of the stack each time
    gc.enable()


def import_torch() -> None:
    """Import torch, and what its checkpoint functions import late."""
    import torch.utils.checkpoint

    # Torch's checkpoint functions import it when first called: many seconds in each probe, the more where it is traced.
    with contextlib.suppress(Exception):
        import torch._dynamo  # noqa: F401


def _needs_deepspeed(spec: dict[str, Any]) -> bool:
    return "deepspeed" in (spec["function"], catalog.ENGINES[spec["engine"]]["package"])


def _import_deepspeed() -> None:
    from .engines.deepspeed import warm_up

    warm_up()


def _import_model(name: str) -> None:
    from . import models

    if name == models.OWN:
        return
    if os.path.isabs(name):
        import transformers  # noqa: F401
    else:
        models.model_class(name)


def _import_probes() -> None:
    from . import step, tiny_glm4  # noqa: F401

    places.warm_up()


def _import(what: str, channel: Channel, load: Callable[[], Any]) -> None:
    """Import one part of the stack, and remember it if that fails: trying it again in each probe would only take time."""
    channel.send("importing", what=what)
    look = json.loads(os.environ[OPENING])["look"]
    isolate.dump_later(look, repeat=True)  # the doctor tells, and gives up where it hangs
    try:
        load()
    except Exception as error:
        BROKEN[what] = _as_evidence(error)
        channel.send("broken", what=what, error=BROKEN[what])
    finally:
        faulthandler.cancel_dump_traceback_later()


def _as_evidence(error: Exception) -> dict[str, Any]:
    try:
        from .failures import evidence

        return evidence(error)
    except Exception:  # torch itself is what is broken
        return {"type": type(error).__name__, "message": str(error)[:2000], "frames": []}


def _serve(specs: list[dict[str, Any]], workers: int, channel: Channel, requests: Requests) -> bool:
    """Run all specs, some at once; whether the doctor is still there at the end."""
    waiting, running = list(specs), list[isolate.Child]()
    fork = can_fork()
    isolate.die_with_parent(at_once=False)  # the end of input is noticed here, in time to end what probes started
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                spec = waiting[0]
                try:
                    child = isolate.Child(spec, _run, fork)
                except OSError as error:
                    if running:  # what they hold comes free
                        break
                    out = isolate.ran_out(error) or f"its process cannot be started: {error}"
                    evidence = {"id": spec["id"], "ended": "skipped", "why": out, "unfit": True}
                    channel.send("done", evidence=evidence, files=[])
                else:
                    channel.send("started", id=spec["id"])
                    running.append(child)
                del waiting[0]
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
        isolate.die_with_parent()
    return True


def _wait(running: list[isolate.Child], requests: Requests) -> None:
    """Until a child writes or ends, or a moment has passed."""
    with selectors.DefaultSelector() as selector:
        selector.register(requests.fileno(), selectors.EVENT_READ)
        for child in running:
            selector.register(child.result_pipe, selectors.EVENT_READ)
            selector.register(child.output_pipe, selectors.EVENT_READ)
        selector.select(POLL)
    time.sleep(0.001)  # a pipe at its end is always ready: leave the child the time to end


def _run(spec: dict[str, Any], note: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    for what in ("torch", spec["model"], *(["deepspeed"] if _needs_deepspeed(spec) else [])):
        if what in BROKEN:
            return {"id": spec["id"], "ended": "raised", "during": "load", "error": BROKEN[what]}
    if catalog.ENGINES[spec["engine"]]["ranks"] and (why := ranks.without_loopback()):
        return {"id": spec["id"], "ended": "skipped", "why": why, "unfit": True}
    return ranks.run(spec, note) if spec["ranks"] > 1 else _step(spec, note)


def _step(spec: dict[str, Any], note: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    if spec["paths"]:
        places.look_first_in(spec["paths"])
    from . import step

    return step.run(spec, note)


def can_fork() -> bool:
    """Whether children may be forked from this process: not on macOS, and not once anything has woken CUDA in it."""
    if sys.platform == "darwin":
        return False
    torch = sys.modules.get("torch")
    return torch is None or not torch.cuda.is_available() or _child_reaches_cuda(torch)


def _child_reaches_cuda(torch: Any) -> bool:
    """Whether a forked child can use the GPU; a library that asked CUDA for anything while it was imported spoils that."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)
        try:
            torch.zeros(1, device="cuda")
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1] == 0


def _end_orphans() -> None:
    """Kill what probes left running outside their process groups; this process has adopted it."""
    while True:
        children = _children()
        for pid in children:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        if not children:
            return


def _children() -> list[int]:
    try:
        with open(f"/proc/{os.getpid()}/task/{os.getpid()}/children") as handle:
            return [int(pid) for pid in handle.read().split()]
    except OSError:
        return []
