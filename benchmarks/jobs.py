"""Which of a project's example jobs are read: ``python benchmarks/jobs.py FOLDER...``.

Every shell script, YAML and JSON file in each folder is given to ``--job`` as it lies there, from the folder itself, and
without anything installed. The table counts what comes of it; ``--list`` names the files. Nothing of them is run.

``read``: the job is read, and would be tried. ``not judged``: read, and said to be beyond what is tried. ``refused``: known by
name and not supported, or lacking something that is named. ``no job``: no key and no command of a trainer's.
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ckptdoctor.errors import UsageFault
from ckptdoctor.job import launch, reading
from ckptdoctor.job.fields import Fields
from ckptdoctor.job.files import load
from ckptdoctor.job.summary import summary
from ckptdoctor.job.telling import NoJobFault

ENDINGS = (".sh", ".slurm", ".sbatch", ".yaml", ".yml", ".json")
SKIPPED = ("node_modules", ".git")
OUTCOMES = ("read", "not judged", "refused", "no job")


def main() -> None:
    """Count what is read in each folder."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--list", action="store_true", help="name every file but those that are no jobs")
    options = parser.parse_args()
    print(f"| project | {' | '.join(OUTCOMES)} |\n|---|{'---|' * len(OUTCOMES)}")
    for folder in options.folders:
        found = [(file, *outcome(file, folder)) for file in files(folder)]
        counts = Counter(kind for _, kind, _ in found)
        print(f"| {folder.resolve().name} | {' | '.join(str(counts[one]) for one in OUTCOMES)} |")
        if options.list:
            for file, kind, what in found:
                if kind != "no job":
                    print(f"  {kind}: {file}: {what}")


def files(folder: Path) -> Iterator[str]:
    """Files that may be jobs, relative to the folder."""
    for file in sorted(folder.rglob("*")):
        if file.suffix in ENDINGS and file.is_file() and not set(SKIPPED) & set(file.parts):
            yield str(file.relative_to(folder))


def outcome(file: str, folder: Path) -> tuple[str, str]:
    """What comes of one file, and a sentence on it."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        job = reading.read(file)
    except NoJobFault as fault:
        return "no job", fault.message
    except UsageFault as fault:
        return ("no job" if is_none(file) else "refused"), fault.message
    finally:
        os.chdir(before)
    if job.unjudged:
        return "not judged", " ".join(job.unjudged)
    return "read", summary(job)


def is_none(file: str) -> bool:
    """Whether a file that is refused holds no settings by name at all, or too much for a job."""
    try:
        values = load(file)
    except UsageFault:
        return not file.endswith((".sh", ".slurm", ".sbatch"))
    return launch.MARK in values and not Fields(file, values).says(launch.MARK)


if __name__ == "__main__":
    main()
