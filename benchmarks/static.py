"""What an answer costs that runs nothing: ``python benchmarks/static.py --python TARGET``.

Prints CPU seconds, which depend little on what else runs: of loading each shipped map, in this process; of `known` with a
question and of `check --static`, which load the map of trainers, and of the bare import of the target's stack, as processes.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import tempfile
import time
from pathlib import Path

from check import WHOLE, environment, measure

from ckptdoctor import knowledge
from ckptdoctor.knowledge import packed

QUESTION = ("llamafactory==0.9.4", "transformers==5.8.1")


def main() -> None:
    """Measure, and print the goals beside the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", required=True, help="the target's interpreter")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    maps = sorted(knowledge.FOLDER.glob("*.json.gz"))
    print(f"all maps{sum(one.stat().st_size for one in maps) / 1e6:>30.3f} MB  goal 1")
    for one in maps:
        print(f"load {one.name:<25}{1000 * loading(one, options.rounds):>8.1f} ms  goal 50")
    with tempfile.TemporaryDirectory() as folder:
        taken = measure(commands(options.python), environment(folder), options.rounds)
    used = {name: statistics.median(cpu) for name, (_, cpu) in taken.items()}
    for name in ("known", "check --static"):
        print(f"{name:<30}{used[name]:>8.3f} s   goal 0.3, a tenth of the import is {used['import'] / 10:.2f}")
    print(
        "medians of wall time, s: "
        + ", ".join(f"{name} {statistics.median(wall):.2f}" for name, (wall, _) in taken.items())
    )


def loading(file: Path, rounds: int) -> float:
    """CPU seconds to load a map."""
    times = []
    for _ in range(rounds):
        gc.collect()
        started = time.process_time()
        packed.read(file)
        times.append(time.process_time() - started)
    return statistics.median(times)


def commands(python: str) -> dict[str, list[str]]:
    """What is timed, by name."""
    doctor = [sys.executable, "-m", "ckptdoctor"]
    return {
        "known": [*doctor, "known", *QUESTION],
        "check --static": [*doctor, "check", "--static", "--python", python],
        "import": [python, "-c", WHOLE],
    }


if __name__ == "__main__":
    main()
