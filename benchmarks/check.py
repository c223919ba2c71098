"""How much a check costs beyond importing the stack: ``python benchmarks/check.py --python TARGET``.

Every figure is a ratio of medians within one run, the commands taken in turn so that a machine that slows down slows all of
them. The target should have the demo stack; the bare imports run with compiled bytecode, as in any environment in use. A bare
import uses one core and a check two: if other programs run, compare CPU seconds.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BARE = "import torch; from transformers import Glm4ForCausalLM"
WHOLE = "import torch, deepspeed; from transformers import Glm4ForCausalLM"


def main() -> None:
    """Time the commands in turn and print ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", required=True, help="the target's interpreter")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--with", dest="requirements", action="append", default=[], help="added to the target")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        times = measure(commands(options.python, options.requirements), environment(folder), options.rounds)
    report({name: statistics.median(taken) for name, (taken, _) in times.items()})
    print("CPU, s:     " + ", ".join(f"{name} {statistics.median(used):.2f}" for name, (_, used) in times.items()))


def commands(python: str, requirements: list[str]) -> dict[str, list[str]]:
    """What is timed, by name."""
    doctor = [sys.executable, "-m", "ckptdoctor"]
    check = [*doctor, "check", "--python", python, *(part for name in requirements for part in ("--with", name))]
    return {
        "import with deepspeed": [python, "-c", WHOLE],
        "check": [*check, "--no-cache"],
        "import without deepspeed": [python, "-c", BARE_WITHOUT_DEEPSPEED],
        "check --engine none": [*check, "--no-cache", "--engine", "none"],
        "check again, unchanged": check,
        "--help": [*doctor, "--help"],
    }


BARE_WITHOUT_DEEPSPEED = f"import sys; sys.modules['deepspeed'] = None; {BARE}"
"""transformers imports DeepSpeed when it finds it; without DeepSpeed's engines the check does not."""


def environment(folder: str) -> dict[str, str]:
    """The environment variables of all commands: bytecode is kept in a folder of the benchmark's own."""
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return {
        **kept,
        "DS_ACCELERATOR": "cpu",
        "CKPTDOCTOR_CACHE": folder,
        "PYTHONPYCACHEPREFIX": str(Path(folder, "pyc")),
    }


def measure(
    timed: dict[str, list[str]], environ: dict[str, str], rounds: int
) -> dict[str, tuple[list[float], list[float]]]:
    """Seconds that each command took, and CPU seconds of all its processes, by name, after a round that warms up caches."""
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in timed}
    for number in range(rounds + 1):
        for name, command in timed.items():
            started, before = time.perf_counter(), cpu_seconds()
            subprocess.run(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
            if number:
                taken, used = times[name]
                taken.append(time.perf_counter() - started)
                used.append(cpu_seconds() - before)
    return times


def cpu_seconds() -> float:
    """What all processes used that were started from here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def report(medians: dict[str, float]) -> None:
    """Print the ratios, with the goals beside them."""
    whole, bare = medians["import with deepspeed"], medians["import without deepspeed"]
    print(f"check / bare import, default engines    {medians['check'] / whole:5.2f}   goal 1.50")
    print(f"check / bare import, without DeepSpeed  {medians['check --engine none'] / bare:5.2f}   goal 1.15")
    print(f"check again, unchanged                  {medians['check again, unchanged']:5.2f} s goal 0.50")
    print(f"ckptdoctor --help                       {medians['--help']:5.2f} s goal 0.15")
    print("medians, s: " + ", ".join(f"{name} {seconds:.2f}" for name, seconds in medians.items()))


if __name__ == "__main__":
    main()
