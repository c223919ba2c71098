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
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import psutil

RELEASES = (
    *("4.40.2", "4.41.2", "4.42.4", "4.43.4", "4.44.2", "4.45.2", "4.46.3", "4.47.1"),
    *("4.48.3", "4.49.0", "4.50.3", "4.51.3", "4.52.4", "4.53.3", "4.55.4", "4.57.6"),
)
FEW = 4
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
    options = parser.parse_args()
    spent: dict[tuple[str, int], list[Spent]] = {}
    sizes = (FEW, len(RELEASES))
    with tempfile.TemporaryDirectory() as name, cluster(Path(name)) as (address, node):
        folder = Path(name)
        Bench(options.python, folder, RELEASES).run("warm", "--executor", f"ray={address}")
        for number in range(options.rounds):
            for size in sizes:
                bench = Bench(options.python, folder, RELEASES[:size])
                spent.setdefault(("local", size), []).append(bench.run(f"local{number}-{size}"))
                with Watch(node) as watch:
                    one = bench.run(f"ray{number}-{size}", "--executor", f"ray={address}")
                spent.setdefault(("ray", size), []).append(Spent(one.wall, one.cpu + watch.seconds))
                spent.setdefault(("shards", size), []).append(bench.shards(f"{number}-{size}"))
    few, many = (size * len(TRAINERS) for size in sizes)
    print(f"{options.rounds} rounds, medians; seconds of the clock / of processors")
    for way, title in (
        ("local", "this machine's executor"),
        ("ray", "a Ray cluster of this machine"),
        ("shards", "two shards, merged"),
    ):
        wall, cpu = ([median(spent[way, size], field) for size in sizes] for field in Spent._fields)
        base = [median(spent["local", size], "cpu") for size in sizes]
        marginal = (cpu[1] - cpu[0]) / (base[1] - base[0])
        fixed = (cpu[0] - base[0]) - (marginal - 1) * base[0]
        print(
            f"{title:30} {few} cells {wall[0]:6.1f} / {cpu[0]:5.1f}   {many} cells {wall[1]:6.1f} / {cpu[1]:5.1f}, "
            f"ratio {cpu[1] / base[1]:.2f}   once {fixed:+5.1f} s, each further cell {marginal:.2f}"
        )


def median(spent: list[Spent], field: str) -> float:
    """Of the clock or of the processor."""
    return statistics.median(getattr(one, field) for one in spent)


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

    def shards(self, number: str) -> Spent:
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


class Watch:
    """Processor seconds that a node's processes take in a block of code.

    Ray does not wait for the processes that it starts, so that their seconds have to be read while they run: what a process
    takes in its last moment is missed, and all that it started is if that moment is the one after it has ended them.
    """

    def __init__(self, node: psutil.Process) -> None:
        self._node, self._over = node, threading.Event()
        self._before, self._last = self._read(), dict[int, float]()
        self._thread = threading.Thread(target=self._watch)
        self.seconds = 0.0

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.seconds = sum(seconds - self._before.get(pid, 0.0) for pid, seconds in self._last.items())

    def _watch(self) -> None:
        while not self._over.wait(0.02):
            self._last |= self._read()

    def _read(self) -> dict[int, float]:
        """By process: Ray's own, and those that Ray started with all below them that have ended."""
        found = {}
        for own in self._node.children():
            with suppress(psutil.Error):
                found[own.pid] = sum(own.cpu_times()[:2])
                found |= {one.pid: sum(one.cpu_times()[:4]) for one in own.children()}
        return found


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
