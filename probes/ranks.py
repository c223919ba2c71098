"""One probe in several processes, under torch's own elastic launcher."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
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
        said = _launch(spec, folder)
        told = _read(folder, spec["ranks"])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for number, evidence in sorted(told.items()):
        if evidence["ended"] != "returned":
            return {**evidence, "rank": number}
    missing = [number for number in range(spec["ranks"]) if number not in told]
    if missing:
        why = f"rank {missing[0]} of {spec['ranks']} {_how_it_died(said)}"
        return {"id": spec["id"], "ended": "crashed", "during": "engine", "why": why, "output": said[-8192:]}
    return {**told[0], "rank": 0}


def _launch(spec: dict[str, Any], folder: str) -> str:
    """What the launcher and its ranks printed; it ends all of them as soon as one fails."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--max-restarts=0"]
    command = [*launcher, f"--nproc-per-node={spec['ranks']}", MAIN, "--rank", json.dumps(spec), folder]
    # Ranks find each other under the machine's own name, unless they are told that all are here.
    environ = {**os.environ, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environ, check=False
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


def _how_it_died(said: str) -> str:
    found = re.search(r"exitcode\s*:\s*(-?\d+)", said)
    status = int(found.group(1)) if found else 0
    if status < 0:
        return f"was killed by signal {-status}"
    return f"ended with exit status {status} and no result" if status else "ended without a result"


def in_rank(spec: dict[str, Any], run_step: Callable[[dict[str, Any], Note], dict[str, Any]], folder: str) -> int:
    """Run a spec as one of the ranks, and leave the evidence for the probe; its exit status tells the launcher to go on."""
    isolate.die_with_parent()
    evidence = run_step(spec, lambda part: None)
    number = os.environ["RANK"]
    file = os.path.join(folder, number)
    with open(f"{file}.new", "w", encoding="utf-8") as written:
        json.dump(evidence, written)
    os.replace(f"{file}.new", f"{file}.json")
    # Others may wait in a collective for a rank that raised: the launcher has to end them.
    return 0 if evidence["ended"] in ("returned", "skipped") else 1
