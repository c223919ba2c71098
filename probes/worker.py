"""The process that the doctor talks to: it imports the stack once and forks a child for each probe.

One JSON object a line, both ways. Requests on a descriptor of their own::

    {"hide": ["deepspeed"], "paths": ["/overlay"], "facts": true, "look": 30, "catalog": {...}}   first, exactly once
                                                     (look: seconds)
    {"specs": [...], "at_once": 2}                                  any number of times
    {"specs": [...], "at_once": 2, "by_family": true}               the same; the probes of a family share a process
    end of input                                                    close

Events on a descriptor of their own, since the environment may print anything on the standard ones::

    {"event": "facts", "environment": {...}, "requires": {"accelerate": ["torch>=2.0.0"]}, "reads": {...}}
    {"event": "importing", "what": "torch"}
    {"event": "started", "id": "..."}
    {"event": "done", "evidence": {...}}
    {"event": "idle", "files": [...]}          all specs are done
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import sys
import time
from typing import Any, Callable

from . import (
    bridge,
    catalog,
    importing,
    isolate,
    loading,
    places,
    processes,
    ranks,
    reads,
    shortages,
    stack,
    start_checks,
    survey,
)

POLL = 0.05
"""Seconds between looks at time limits."""


def main() -> int:
    """Run one probe or one rank of it in this process, or serve the doctor."""
    if sys.argv[1:2] == ["--one"]:
        _open(json.loads(os.environ[importing.OPENING]))
        isolate.in_child(json.loads(sys.argv[2]), _run, int(sys.argv[3]))
    if sys.argv[1:2] == ["--rank"]:
        _open(json.loads(os.environ[importing.OPENING]))
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
    processes.die_with_parent()
    processes.adopt_orphans()
    channel, requests = bridge.Channel(events_to), bridge.Requests(requests_from)
    opening = requests.wait()
    if opening is None:
        return 0
    _open(opening)
    reads.watch_variables()
    if opening.get("facts"):
        environment, requires = stack.facts()
        packages = [{**one, "start_checks": start_checks.of(one["name"])} for one in environment["packages"]]
        more = {"packages": packages, "trainers": loading.available()}
        channel.send("facts", environment={**environment, **more}, requires=requires, reads=reads.told())
    while (request := requests.wait()) is not None:
        importing.prepare(request["specs"], channel)
        by_family = request.get("by_family") and processes.can_fork()
        asked = request["specs"], request["at_once"], channel, requests
        is_there = survey.serve(*asked, run=_run) if by_family else _serve(*asked)
        if not is_there:
            break
        channel.send("idle", files=isolate.files_of(sys.modules), reads=reads.told())
    processes.end_orphans()
    os._exit(0)  # taking the stack's modules apart at exit costs as much as some probes


def _open(opening: dict[str, Any]) -> None:
    """Take in the catalog, hide packages, and put an overlay first."""
    os.environ[importing.OPENING] = json.dumps(opening)
    catalog.take(opening["catalog"])
    # With None in sys.modules a package can be neither imported nor found: as if it were not installed.
    sys.modules.update(dict.fromkeys(opening["hide"]))
    sys.path[:0] = opening["paths"]


def _serve(specs: list[dict[str, Any]], at_once: int, channel: bridge.Channel, requests: bridge.Requests) -> bool:
    """Run all specs, some at once; whether the doctor is still there at the end."""
    waiting, running = list(specs), list[isolate.Child]()
    fork = processes.can_fork()
    processes.die_with_parent(is_on=False)  # the end of input is noticed here, in time to end what probes started
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                spec = waiting[0]
                try:
                    child = isolate.Child(spec, _run, fork)
                except OSError as error:
                    if running:  # what they hold comes free
                        break
                    out = shortages.ran_out(error) or f"its process cannot be started: {error}"
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
                elif child.limit.is_news(time.monotonic()):
                    channel.send("late", id=child.spec["id"])  # a worker that says nothing counts as dead
    finally:
        for child in running:
            child.abandon()
        processes.die_with_parent()
    return True


def _wait(running: list[isolate.Child], requests: bridge.Requests) -> None:
    """Until a child writes or ends, or a moment has passed."""
    with selectors.DefaultSelector() as selector:
        selector.register(requests.fileno(), selectors.EVENT_READ)
        for child in running:
            selector.register(child.result_pipe, selectors.EVENT_READ)
            selector.register(child.output_pipe, selectors.EVENT_READ)
        selector.select(POLL)
    time.sleep(0.001)  # a pipe at its end is always ready: leave the child the time to end


def _run(spec: dict[str, Any], note: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    for what in ("torch", spec["model"], *(["deepspeed"] if importing.needs_deepspeed(spec) else [])):
        if what in importing.BROKEN:
            return {"id": spec["id"], "ended": "raised", "during": "load", "error": importing.BROKEN[what]}
    if catalog.ENGINES[spec["engine"]]["ranks"] and (why := ranks.without_loopback()):
        return {"id": spec["id"], "ended": "skipped", "why": why, "unfit": True}
    return ranks.run(spec, _step, note) if spec["ranks"] > 1 else _step(spec, note)


def _step(spec: dict[str, Any], note: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    if spec["paths"]:
        places.look_first_in(spec["paths"])
    from . import probe

    return probe.run(spec, note)
