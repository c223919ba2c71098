"""What it costs to share a map between machines: ``python benchmarks/machines.py --python TARGET``.

The same cells are run by this machine's executor, on a Ray cluster that has this machine as its only node, and as shards whose
stores are merged; by turns, from the same warm cache, each with a store of its own. The ratios are of processor seconds of the
whole machine, which has to be idle: a cluster's own processes count as well.
The target needs torch and nothing else of the stack; Ray has to be installed beside ckptdoctor.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import psutil

FEW = ("4.40.2", "4.44.2", "4.48.3", "4.57.6")
SOME = (
    *("4.40.2", "4.41.2", "4.42.4", "4.43.4", "4.44.2", "4.45.2", "4.46.3", "4.47.1"),
    *("4.48.3", "4.49.0", "4.50.3", "4.51.3", "4.52.4", "4.53.3", "4.55.4", "4.57.6"),
)
MAPS = (
    [f"transformers=={one}" for one in FEW],
    [f"transformers=={one}" for one in SOME],
    ["transformers>=4.40,<=4.57.6"],
)
"""The releases of transformers in each map."""
TRAINERS = [f"llamafactory=={one}" for one in ("0.9.2", "0.9.3", "0.9.5")]


class Spent(NamedTuple):
    """Seconds of the clock and of the processor."""

    wall: float
    cpu: float
    cells: int = 0

    def __add__(self, other: object) -> Spent:
        """Both, one after the other."""
        assert isinstance(other, Spent)
        return Spent(self.wall + other.wall, self.cpu + other.cpu, max(self.cells, other.cells))


def main() -> None:
    """Time all ways and print ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", required=True, help="the target's interpreter: torch, numpy and nothing else")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    spent: dict[tuple[str, int], list[Spent]] = {}
    with tempfile.TemporaryDirectory() as name, cluster(Path(name)) as address:
        bench = Bench(options.python, Path(name))
        cells = [bench.run(f"warm{size}", size, "--executor", f"ray={address}").cells for size in range(len(MAPS))]
        for number in range(options.rounds):
            for size in range(len(MAPS)):
                spent.setdefault(("local", size), []).append(bench.run(f"local{number}-{size}", size))
                on_ray = bench.run(f"ray{number}-{size}", size, "--executor", f"ray={address}")
                spent.setdefault(("ray", size), []).append(on_ray)
                spent.setdefault(("shards", size), []).append(bench.shards(str(number), size))
    print(f"{options.rounds} rounds, medians; seconds of the clock / of processors")
    for way, title in (
        ("local", "this machine's executor"),
        ("ray", "a Ray cluster of this machine"),
        ("shards", "two shards, merged"),
    ):
        print(f"{title:30}", *(_of_map(spent, way, size, cells[size]) for size in range(len(MAPS))), sep="   ")


def _of_map(spent: dict[tuple[str, int], list[Spent]], way: str, size: int, cells: int) -> str:
    wall, cpu = (median(spent[way, size], field) for field in ("wall", "cpu"))
    return f"{cells} cells {wall:6.1f} / {cpu:5.1f}, ratio {cpu / median(spent['local', size], 'cpu'):.2f}"


def median(spent: list[Spent], field: str) -> float:
    """Of the clock or of the processor."""
    return float(statistics.median(getattr(one, field) for one in spent))


class Bench:
    """Runs the same cells in several ways."""

    def __init__(self, python: str, folder: Path) -> None:
        self._python, self._folder = python, folder

    def run(self, store: str, size: int, *more: str) -> Spent:
        """Run the cells of a map, or a part of them, with a store."""
        axes = [part for one in (*MAPS[size], *TRAINERS) for part in ("--vary", one)]
        arguments = ["--python", self._python, "--store", str(self._folder / store), "--format", "json", "--exhaustive"]
        spent, out = self._command(*arguments, *axes, *more)
        return spent._replace(cells=len(json.loads(out)["cells"]))

    def shards(self, number: str, size: int) -> Spent:
        """Two jobs, the merge of their stores, and the whole map from it."""
        names = [f"shard{number}-{size}-{part}" for part in (1, 2)]
        jobs = [self.run(name, size, "--shard", f"{part}/2") for part, name in enumerate(names, 1)]
        stores = [str(self._folder / name) for name in names]
        merged = f"merged{number}-{size}"
        spent, _ = self._command("merge", *stores, "--store", str(self._folder / merged))
        return jobs[0] + jobs[1] + spent + self.run(merged, size)

    def _command(self, *arguments: str) -> tuple[Spent, bytes]:
        environ = environment(self._folder)
        started, used = time.perf_counter(), cpu_of_machine()
        command = [sys.executable, "-m", "ckptdoctor", "matrix", *arguments]
        done = subprocess.run(command, env=environ, capture_output=True, check=False)
        if done.returncode not in (0, 1):
            raise SystemExit(done.stderr.decode())
        return Spent(time.perf_counter() - started, cpu_of_machine() - used), done.stdout


def environment(folder: Path) -> dict[str, str]:
    """As in most shells, Python keeps what it compiles."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "CKPTDOCTOR_CACHE": str(folder / "cache")}


def cpu_of_machine() -> float:
    """Processor seconds of all processes: Ray starts its own, and does not wait for those that it ends."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system)


@contextmanager
def cluster(folder: Path) -> Iterator[str]:
    """A Ray cluster with this machine as its only node: its address."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    arguments = ["--head", "--block", "--port", port, "--include-dashboard=false", "--object-store-memory", 80_000_000]
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", *map(str, arguments)]
    environ = {**environment(folder), "RAY_USAGE_STATS_ENABLED": "0"}
    with (folder / "ray.log").open("w") as log:
        process = psutil.Popen(command, env=environ, stdout=log, stderr=log)
    try:
        while "runtime started" not in (folder / "ray.log").read_text():
            if process.poll() is not None:
                raise SystemExit((folder / "ray.log").read_text())
            time.sleep(0.1)
        yield f"127.0.0.1:{port}"
    finally:
        with suppress(psutil.NoSuchProcess):
            for one in [*process.children(recursive=True), process]:
                one.kill()
        process.wait()


if __name__ == "__main__":
    main()
