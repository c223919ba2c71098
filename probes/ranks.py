"""One probe in several processes, under torch's own elastic launcher."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from typing import Any, Callable

from . import isolate

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
        told = _read(folder, spec["ranks"])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    number, status = _first_failure(said)
    if status >= 0 and told:
        # One that fails takes others with it: the first to end otherwise than well has most to tell.
        failed = [rank for rank in told if told[rank]["evidence"]["ended"] != "returned"]
        number = min(failed or told, key=lambda rank: float(told[rank]["at"]))
        return {**told[number]["evidence"], "rank": number}
    ended = f"was killed by signal {-status}" if status < 0 else f"ended with exit status {status} and no result"
    return {
        "id": spec["id"],
        "ended": "crashed",
        "why": f"rank {number} of {spec['ranks']} {ended}",
        "output": said[-8192:],
    }


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


def _read(folder: str, count: int) -> dict[int, dict[str, Any]]:
    told = {}
    for number in range(count):
        try:
            with open(os.path.join(folder, f"{number}.json"), encoding="utf-8") as file:
                told[number] = json.load(file)
        except (OSError, ValueError):
            continue
    return told


def _first_failure(said: str) -> tuple[int, int]:
    """The rank that failed first, which takes others with it, and how it ended; the first rank where none did."""
    cause = said.partition("Root Cause")[2]
    rank, status = re.search(r"\brank\s*:\s*(\d+)", cause), re.search(r"exitcode\s*:\s*(-?\d+)", cause)
    return int(rank.group(1)) if rank else 0, int(status.group(1)) if status else 0


def in_rank(
    spec: dict[str, Any],
    run_step: Callable[[dict[str, Any], Note], dict[str, Any]],
    folder: str,
    note: Note = lambda part: None,
) -> int:
    """Run a spec as one of the ranks, and leave the evidence for the probe; its exit status tells the launcher to go on."""
    isolate.die_with_parent()
    evidence = run_step(spec, note)
    number = os.environ["RANK"]
    file = os.path.join(folder, number)
    with open(f"{file}.new", "w", encoding="utf-8") as written:
        json.dump({"at": time.monotonic(), "evidence": evidence}, written)
    os.replace(f"{file}.new", f"{file}.json")
    # Others may wait in a collective for a rank that raised: the launcher has to end them.
    return 0 if evidence["ended"] in ("returned", "skipped") else 1
