"""What a matrix costs beside doing it by hand: ``python benchmarks/matrix.py --python TARGET``.

By hand means, for each combination: a fresh virtual environment, an install, a Python that starts, imports and probes. Both
run the same combinations with the same probes in one run, by turns, from the same warm download cache; uv installs for both,
which favours the hand. The target needs torch, the same as is installed by hand.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
from uv import find_uv_bin

from ckptdoctor.environment import pip_settings

RELEASES = ("4.50.3", "4.51.3", "4.53.3", "4.57.6")
TRAINERS = ("0.9.2", "0.9.3", "0.9.5")
PROBE = """
import sys
from ckptdoctor.diagnose import diagnose
from ckptdoctor.planning.options import Options
from ckptdoctor.planning.request import Request
options = Options(functions=["torch", "llamafactory"], engines=["none"], conventions=["bound-method"])
diagnose(Request(sys.argv[1], options=options, use_cache=False, find_remedies=False))
"""
"""A check with hardly more probes than a cell of the matrix has."""

HUNDRED = ("transformers>=4.40", "llamafactory>=0.7")


def main() -> None:
    """Time both ways and print ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", required=True, help="the target's interpreter: torch, numpy and nothing else")
    parser.add_argument("--torch", default="torch==2.13.0", help="what is installed by hand")
    parser.add_argument("--by-hand", type=int, default=4, help="combinations to do by hand")
    options = parser.parse_args()
    combinations = [(release, trainer) for release in RELEASES for trainer in TRAINERS]
    with tempfile.TemporaryDirectory() as folder:
        hand = [by_hand(options.torch, *one, Path(folder)) for one in spread(combinations, options.by_hand)]
        one_job = matrix(options.python, pins(), Path(folder, "one"), "--exhaustive", "--jobs", "1")
        all_jobs = matrix(options.python, pins(), Path(folder, "all"), "--exhaustive")
        few = matrix(options.python, pins(RELEASES[:2], TRAINERS[:1]), Path(folder, "few"), "--exhaustive")
        hundred = matrix(options.python, [part for one in HUNDRED for part in ("--vary", one)], Path(folder, "hundred"))
        again = matrix(options.python, [part for one in HUNDRED for part in ("--vary", one)], Path(folder, "hundred"))
    each = statistics.mean(hand)
    print(f"by hand, a combination                      {each:7.2f} s  ({len(hand)} done)")
    print(f"matrix, one job, a measured combination     {one_job.each:7.2f} s  {each / one_job.each:6.1f} times less")
    print(
        f"matrix, all cores, a measured combination   {all_jobs.each:7.2f} s  {each / all_jobs.each:6.1f} times less, goal 5"
    )
    cells = hundred.cells
    print(f"matrix, {cells} cells, {hundred.measured} of them measured  {hundred.seconds:7.1f} s")
    print(
        f"  by hand that would be                     {each * cells:7.0f} s  "
        f"{each * cells / hundred.seconds:6.0f} times less, goal 50"
    )
    print(f"  again, all known                          {again.seconds:7.2f} s")
    print(
        f"memory at most: {few.memory:.1f} GB for {few.cells} combinations, {all_jobs.memory:.1f} GB for {all_jobs.cells}, "
        f"{hundred.memory:.1f} GB for {hundred.measured} measured; {one_job.memory:.1f} GB with one job"
    )


class Ran:
    """What a matrix took."""

    def __init__(self, seconds: float, memory: float, found: dict) -> None:
        self.seconds, self.memory = seconds, memory / 1e9
        self.cells = len(found["cells"])
        self.measured = sum(cell["how"] == "measured" for cell in found["cells"])

    @property
    def each(self) -> float:
        """Seconds for each measured combination."""
        return self.seconds / self.measured


def pins(releases: tuple[str, ...] = RELEASES, trainers: tuple[str, ...] = TRAINERS) -> list[str]:
    """The axes of the combinations that both ways run."""
    wanted = [f"transformers=={release}" for release in releases] + [f"llamafactory=={trainer}" for trainer in trainers]
    return [part for one in wanted for part in ("--vary", one)]


def spread(combinations: list[tuple[str, str]], count: int) -> list[tuple[str, str]]:
    """Some of them, evenly."""
    step = max(1, len(combinations) // count)
    return combinations[::step][:count]


def matrix(python: str, axes: list[str], cache: Path, *more: str) -> Ran:
    """Run a matrix with a cache of its own."""
    command = [sys.executable, "-m", "ckptdoctor", "matrix", "--python", python, *axes, *more, "--format", "json"]
    started = time.perf_counter()
    process = subprocess.Popen(command, env={**os.environ, "CKPTDOCTOR_CACHE": str(cache)}, stdout=subprocess.PIPE)
    peak = Peak(process.pid)
    out, _ = process.communicate()
    return Ran(time.perf_counter() - started, peak.stop(), json.loads(out))


class Peak:
    """The most memory that a process and all below it hold together; what they share is counted once."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._most, self._over = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def stop(self) -> float:
        """Bytes."""
        self._over.set()
        self._thread.join()
        return self._most

    def _watch(self) -> None:
        while not self._over.wait(0.5):
            held = 0
            try:
                for one in [self._process, *self._process.children(recursive=True)]:
                    held += one.memory_full_info().pss
            except psutil.Error:
                continue
            self._most = max(self._most, held)


def by_hand(torch: str, release: str, trainer: str, folder: Path) -> float:
    """Seconds for a fresh environment, an install, and the probes in it."""
    where, cache = folder / "by-hand", folder / "hand"
    python = str(where / "bin" / "python")
    settings = pip_settings.read(None, os.environ)
    environ = {**os.environ, **pip_settings.uv_environment(settings), "CKPTDOCTOR_CACHE": str(cache)}
    install = [find_uv_bin(), "pip", "install", "--quiet", "--python", python, *pip_settings.uv_arguments(settings)]
    check = [sys.executable, "-c", PROBE, python]
    started = time.perf_counter()
    run([find_uv_bin(), "venv", "--quiet", "--python", sys.executable, str(where)], environ)
    run([*install, torch, "numpy", f"transformers=={release}"], environ)
    run([*install, "--no-deps", f"llamafactory=={trainer}"], environ)
    run(check, environ)
    seconds = time.perf_counter() - started
    shutil.rmtree(where)
    shutil.rmtree(cache)  # by hand nothing is kept from one environment to the next
    return seconds


def run(command: list[str], environ: dict[str, str]) -> None:
    """Run a command that must end well."""
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command[:3]} ended with {done.returncode}: {done.stderr}")


if __name__ == "__main__":
    main()
