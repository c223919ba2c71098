"""One probe in several processes: forked from the probe's own, or fresh interpreters where a fork is not safe.

Ranks find each other through a file, so that no port is needed. torch's elastic launcher does the same over a socket, with
two threads and a second of waiting for each probe.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from typing import Any, Callable

from . import isolate, processes, reads

MAIN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "__main__.py")

STORE = "CKPTDOCTOR_STORE"
"""Environment variable with the file through which ranks find each other."""

LEFT = 1.0
"""Seconds that the other ranks have to end after one of them has failed: most wait for it in a collective, for ever."""

Note = Callable[[dict[str, Any]], None]

RunStep = Callable[[dict[str, Any], Note], dict[str, Any]]


def run(spec: dict[str, Any], run_step: RunStep, note: Note) -> dict[str, Any]:
    """The evidence of the rank that has most to tell: the first that did not return, else the first of all.

    Args:
        spec: What each rank runs, on a batch of its own.
        run_step: Runs it in one rank.
        note: Told parts as they come, for a probe that does not live to tell.
    """
    note({"during": "load"})
    folder = tempfile.mkdtemp(prefix="ranks-")
    isolate.dump_later(
        None
    )  # its thread would not be in a forked rank, and its lock would; ranks have a watch of their own
    try:
        # A child that was forked has the stack imported already, and so have ranks that are forked from it.
        start = _spawn if sys.argv[1:2] == ["--one"] else _fork
        ranks = {start(spec, number, folder, run_step, note): number for number in range(spec["ranks"])}
        died = _wait(ranks)
        told = _read(folder, spec["ranks"])
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for one in told.values():
        reads.add(one["reads"])
    lost = sorted(set(died) - set(told))
    if lost:
        why = f"rank {lost[0]} of {spec['ranks']} {_how_it_died(died[lost[0]])}"
        return {"id": spec["id"], "ended": "crashed", "why": why}
    # One that fails takes others with it: the first to end otherwise than well has most to tell.
    failed = [rank for rank in told if told[rank]["evidence"]["ended"] != "returned"]
    if failed:
        first = min(failed, key=lambda rank: float(told[rank]["at"]))
    else:
        first = max(sorted(told), key=lambda rank: _stands_out(told[rank]["evidence"]))
    return {**told[first]["evidence"], "rank": first}


def _stands_out(evidence: dict[str, Any]) -> float:
    """How far a step is from the plain one: where ranks differ, the one that has something to tell is told of."""
    layers, compared = evidence.get("layers", []), evidence.get("gradients") or {}
    loss, plain = evidence.get("loss"), evidence.get("plain_loss")
    off = abs(loss - plain) if loss is not None and plain is not None else 0.0
    again = sum(layer["forwards"] != 2 * layer["plain"] for layer in layers)
    lost = len(compared.get("missing", ())) + len(compared.get("wrong", ())) + len(evidence.get("keywords_lost", ()))
    return float("inf") if off != off else again + lost + off


def without_loopback() -> str:
    """Why this machine cannot connect to itself, as DeepSpeed and gloo do; empty where it can."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname(), timeout=5).close()
    except OSError as error:
        return f"this machine has no working loopback interface (127.0.0.1: {error.strerror or error})"
    return ""


def _variables(spec: dict[str, Any], number: int, folder: str) -> dict[str, str]:
    """The environment variables by which torch's launcher tells a process which rank it is, and the file of this probe's."""
    count = str(spec["ranks"])
    return {
        "RANK": str(number),
        "LOCAL_RANK": str(number),
        "WORLD_SIZE": count,
        "LOCAL_WORLD_SIZE": count,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "29500",
        STORE: os.path.join(folder, "store"),
    }


def _fork(spec: dict[str, Any], number: int, folder: str, run_step: RunStep, note: Note) -> int:
    probe = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    status = 70
    try:
        os.environ.update(_variables(spec, number, folder))
        if os.getppid() == probe:
            status = in_rank(spec, run_step, folder, note)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(status)


def _spawn(spec: dict[str, Any], number: int, folder: str, run_step: RunStep, note: Note) -> int:
    process = subprocess.Popen(
        [sys.executable, MAIN, "--rank", json.dumps(spec), folder],
        stdin=subprocess.DEVNULL,
        env={**os.environ, **_variables(spec, number, folder)},
    )
    process.returncode = 0  # it is waited for by its number, not through this object
    return process.pid


def _wait(ranks: dict[int, int]) -> dict[int, int]:
    """How each rank ended by itself, as ``os.waitpid`` puts it; those that are ended here are left out."""
    died: dict[int, int] = {}
    left = dict(ranks)
    until = float("inf")
    while left and time.monotonic() < until:
        for pid in list(left):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                died[left.pop(pid)] = status
                until = min(until, time.monotonic() + LEFT) if status else until
        time.sleep(0.002)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return died


def _read(folder: str, count: int) -> dict[int, dict[str, Any]]:
    """What ranks have left."""
    told = {}
    for number in range(count):
        try:
            with open(os.path.join(folder, f"{number}.json"), encoding="utf-8") as written:
                told[number] = json.load(written)
        except (OSError, ValueError):
            continue
    return told


def _how_it_died(status: int) -> str:
    return f"was killed by signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else "ended without a result"


def in_rank(spec: dict[str, Any], run_step: RunStep, folder: str, note: Note = lambda part: None) -> int:
    """Run a spec as one of the ranks, and leave the evidence for the probe; its exit status says whether others can go on."""
    processes.die_with_parent()
    isolate.dump_later(max(spec["timeout"] - isolate.DUMP, 0.1))
    _choose_device(spec["ranks"])
    evidence = run_step(spec, note)
    file = os.path.join(folder, os.environ["RANK"])
    with open(f"{file}.new", "w", encoding="utf-8") as written:
        json.dump({"at": time.monotonic(), "evidence": evidence, "reads": reads.told()}, written)
    os.replace(f"{file}.new", f"{file}.json")
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    # Others may wait in a collective for a rank that raised.
    return 0 if evidence["ended"] in ("returned", "skipped") else 1


def _choose_device(count: int) -> None:
    """A GPU for each rank; where there are fewer, all ranks do without, since NCCL needs one for each."""
    import torch

    gpus = torch.cuda.device_count()  # asks the driver's library, without waking CUDA in this process
    if gpus >= count:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    elif gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
