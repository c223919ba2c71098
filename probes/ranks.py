"""One probe in several processes, under torch's own elastic launcher."""

from __future__ import annotations

import faulthandler
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from typing import Any, Callable

from . import processes, reads

MAIN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "__main__.py")

Note = Callable[[dict[str, Any]], None]


def run(spec: dict[str, Any], note: Note) -> dict[str, Any]:
    """The evidence of the rank that has most to tell: the first that did not return, else the first of all.

    Args:
        spec: What each rank runs, on the same batch.
        note: Told parts as they come, for a probe that does not live to tell.
    """
    note({"during": "load"})
    folder = tempfile.mkdtemp(prefix="ranks-")
    try:
        # A child that was forked has the stack imported already, and so have ranks that are forked from it.
        said = _spawn(spec, folder) if sys.argv[1:2] == ["--one"] else _fork(spec, folder, note)
        told, lost = _read(folder, spec["ranks"])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for one in told.values():
        reads.add(one["reads"])
    if lost:
        why = f"rank {lost[0]} of {spec['ranks']} {_how_it_died(said, lost[0])}"
        return {"id": spec["id"], "ended": "crashed", "why": why, "output": said[-8192:]}
    # One that fails takes others with it: the first to end otherwise than well has most to tell.
    failed = [rank for rank in told if told[rank]["evidence"]["ended"] != "returned"]
    first = min(failed or told, key=lambda rank: float(told[rank]["at"]))
    return {**told[first]["evidence"], "rank": first}


def without_loopback() -> str:
    """Why this machine cannot connect to itself, as DeepSpeed and torch's launcher do; empty where it can."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname(), timeout=5).close()
    except OSError as error:
        return f"this machine has no working loopback interface (127.0.0.1: {error.strerror or error})"
    return ""


def _fork(spec: dict[str, Any], folder: str, note: Note) -> str:
    """What the launcher said; it ends all ranks as soon as one fails."""
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=spec["ranks"],
        run_id=str(os.getpid()),
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        start_method="fork",
        max_restarts=0,
        monitor_interval=0.1,
    )
    try:
        elastic_launch(config, _rank)(spec, folder, note)
    except ChildFailedError as error:
        return str(error)
    return ""


def _rank(spec: dict[str, Any], folder: str, note: Note) -> None:
    from . import step

    if in_rank(spec, step.run, folder, note):
        sys.exit(1)


def _spawn(spec: dict[str, Any], folder: str) -> str:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--max-restarts=0"]
    command = [*launcher, f"--nproc-per-node={spec['ranks']}", MAIN, "--rank", json.dumps(spec), folder]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    return done.stdout.decode("utf-8", "replace")


def _read(folder: str, count: int) -> tuple[dict[int, dict[str, Any]], list[int]]:
    """What ranks have left, and those that were lost: they left nothing, and it was not the launcher that ended them."""
    told, lost = {}, []
    for number in range(count):
        file = os.path.join(folder, str(number))
        try:
            with open(f"{file}.json", encoding="utf-8") as written:
                told[number] = json.load(written)
        except (OSError, ValueError):
            if not os.path.exists(f"{file}.ended") or not os.path.getsize(f"{file}.ended"):
                lost.append(number)
    return told, lost


def _how_it_died(said: str, rank: int) -> str:
    found = re.search(rf"\brank\s*:\s*{rank}\b.*?exitcode\s*:\s*(-?\d+)", said, re.DOTALL)
    status = int(found.group(1)) if found else 0
    return f"was killed by signal {-status}" if status < 0 else "ended without a result"


def in_rank(
    spec: dict[str, Any],
    run_step: Callable[[dict[str, Any], Note], dict[str, Any]],
    folder: str,
    note: Note = lambda part: None,
) -> int:
    """Run a spec as one of the ranks, and leave the evidence for the probe; its exit status tells the launcher to go on."""
    processes.die_with_parent()
    file = os.path.join(folder, os.environ["RANK"])
    with open(f"{file}.ended", "w", encoding="utf-8") as ended:
        # Tells the launcher's doing from a death of the rank's own, even where no Python code can run any more.
        faulthandler.register(signal.SIGTERM, ended, chain=True)
        evidence = run_step(spec, note)
        faulthandler.unregister(signal.SIGTERM)
    with open(f"{file}.new", "w", encoding="utf-8") as written:
        json.dump({"at": time.monotonic(), "evidence": evidence, "reads": reads.told()}, written)
    os.replace(f"{file}.new", f"{file}.json")
    # Others may wait in a collective for a rank that raised: the launcher has to end them.
    return 0 if evidence["ended"] in ("returned", "skipped") else 1
