"""What it costs to share a map between machines: ``python benchmarks/machines.py --python TARGET``.

The same cells are run by this machine's executor, on a Ray cluster that has this machine as its only node, and as shards whose
stores are merged; by turns, from the same warm cache, each with a store of its own. The ratios are of processor seconds, which
depend little on what else runs on the machine, and of seconds. A cluster's own processes count for the time that the map takes.
The target needs torch and nothing else of the stack; Ray has to be installed beside ckptdoctor.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil

RELEASES = ("4.50.3", "4.51.3", "4.53.3", "4.57.6")
TRAINERS = ("0.9.2", "0.9.3", "0.9.5")


class Spent(NamedTuple):
    """Seconds of the clock and of the processor."""

    wall: float
    cpu: float

    def __add__(self, other: object) -> Spent:
        """Both, one after the other."""
        assert isinstance(other, Spent)
        return Spent(self.wall + other.wall, self.cpu + other.cpu)


def main() -> None:
    """Time all ways and print ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", required=True, help="the target's interpreter: torch, numpy and nothing else")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--releases", type=int, default=len(RELEASES), help="of transformers")
    options = parser.parse_args()
    local, ray, shards = [], [], []
    with tempfile.TemporaryDirectory() as folder, cluster(Path(folder)) as (address, nodes):
        bench = Bench(options.python, Path(folder), RELEASES[: options.releases])
        bench.run("warm", "--executor", f"ray={address}")
        for number in range(options.rounds):
            local.append(bench.run(f"local{number}"))
            before = cpu_of(nodes)
            spent = bench.run(f"ray{number}", "--executor", f"ray={address}")
            ray.append(Spent(spent.wall, spent.cpu + cpu_of(nodes) - before))
            shards.append(bench.shards(number))
    print(f"{len(RELEASES[: options.releases]) * len(TRAINERS)} cells, {options.rounds} rounds, medians")
    show("this machine's executor", local, local)
    show("a Ray cluster of this machine, goal 1.10", ray, local)
    show("two shards, merged and printed, goal 1.05", shards, local)


def show(name: str, spent: list[Spent], local: list[Spent]) -> None:
    """A line of the table."""
    wall, cpu = (statistics.median(getattr(one, field) for one in spent) for field in Spent._fields)
    pairs = list(zip(spent, local, strict=True))
    ratios = [statistics.median(getattr(a, field) / getattr(b, field) for a, b in pairs) for field in Spent._fields]
    print(f"{name:44} {wall:7.1f} s  {cpu:7.1f} s of processors  ratios {ratios[0]:.2f} and {ratios[1]:.2f}")


class Bench:
    """Runs the same cells in several ways."""

    def __init__(self, python: str, folder: Path, releases: tuple[str, ...]) -> None:
        self._python, self._folder = python, folder
        wanted = [f"transformers=={one}" for one in releases] + [f"llamafactory=={one}" for one in TRAINERS]
        self._axes = ["--exhaustive", *(part for one in wanted for part in ("--vary", one))]
        self._cells = len(releases) * len(TRAINERS)

    def run(self, store: str, *more: str, cells: int | None = None) -> Spent:
        """Run the cells, or a part of them, with a store."""
        arguments = ["--python", self._python, "--store", self._folder / store, "--format", "json", *self._axes]
        spent, out = self._command(*map(str, arguments), *more)
        found = json.loads(out)["cells"]
        assert len(found) == (cells or self._cells) or "--shard" in more, found
        return spent

    def shards(self, number: int) -> Spent:
        """Two jobs, the merge of their stores, and the whole map from it."""
        names = [f"shard{number}-{part}" for part in (1, 2)]
        jobs = [self.run(name, "--shard", f"{part}/2") for part, name in enumerate(names, 1)]
        stores = [str(self._folder / name) for name in names]
        merged, _ = self._command("merge", *stores, "--store", str(self._folder / f"merged{number}"))
        return jobs[0] + jobs[1] + merged + self.run(f"merged{number}")

    def _command(self, *arguments: str) -> tuple[Spent, bytes]:
        environ = {**os.environ, "CKPTDOCTOR_CACHE": str(self._folder / "cache")}
        started, used = time.perf_counter(), cpu_of_children()
        command = [sys.executable, "-m", "ckptdoctor", "matrix", *arguments]
        done = subprocess.run(command, env=environ, capture_output=True, check=False)
        if done.returncode not in (0, 1):
            raise SystemExit(done.stderr.decode())
        return Spent(time.perf_counter() - started, cpu_of_children() - used), done.stdout


def cpu_of_children() -> float:
    """Processor seconds of all processes that were started here and have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def cpu_of(process: psutil.Process) -> float:
    """Processor seconds of a running process and all below it, those that have ended included."""
    total = 0.0
    for one in [process, *process.children(recursive=True)]:
        try:
            total += sum(one.cpu_times()[:4])  # its own, and those of children that have ended
        except psutil.Error:
            continue
    return total


@contextmanager
def cluster(folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    """A Ray cluster with this machine as its only node: its address and its process."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    arguments = ["--head", "--block", "--port", port, "--include-dashboard=false", "--object-store-memory", 80_000_000]
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", *map(str, arguments)]
    environ = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "CKPTDOCTOR_CACHE": str(folder / "cache")}
    with (folder / "ray.log").open("w") as log:
        process = psutil.Popen(command, env=environ, stdout=log, stderr=log)
    try:
        while "runtime started" not in (folder / "ray.log").read_text():
            if process.poll() is not None:
                raise SystemExit((folder / "ray.log").read_text())
            time.sleep(0.1)
        yield f"127.0.0.1:{port}", process
    finally:
        for one in [*process.children(recursive=True), process]:
            one.kill()
        process.wait()


if __name__ == "__main__":
    main()
