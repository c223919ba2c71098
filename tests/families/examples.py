"""Tells for every example job of a repository which family it comes to, how that is known, and whether it builds and steps.

Give a folder of examples, and the table that ``survey.py`` wrote in an environment::

    python tests/families/examples.py --table survey.jsonl --transformers 5.24.0 LLaMA-Factory/examples
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from pathlib import Path

from ckptdoctor.errors import UsageFault
from ckptdoctor.job.families import known
from ckptdoctor.job.models import Choice
from ckptdoctor.job.reading import JobFile

COME_TO = (
    "a job, tried with its own family",
    "a job, whose family is only a guess: tried, and not judged",
    "a job of a family that cannot be built or does not step: not judged",
    "a job of a family that this transformers lacks: not judged",
    "a job whose family is not known: not judged",
    "a job that another backend checkpoints: not judged",
    "no job, or refused by name",
)


def told(file: Path, families: tuple[str, ...], builds: dict[str, bool], release: str) -> tuple[int, str]:
    """What becomes of an example, and the family with how it is known, or why there is none."""
    try:
        job = JobFile(file).interpreted({"transformers": release}, Choice("", families))
    except UsageFault as fault:
        return 6, str(fault)
    how = f"{job.family} ({job.how})"
    if job.unjudged:
        return 5, " ".join(job.unjudged)
    if not job.family:
        return 4, job.model_name
    if job.family not in families:
        return 3, how
    if not builds.get(job.family):
        return 2, how
    return (1, f"{how}: {job.doubt}") if job.doubt else (0, how)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--transformers", required=True)
    given = parser.parse_args()
    rows = [json.loads(line) for line in given.table.read_text().splitlines()]
    builds = {row["family"]: "error" not in row for row in rows}
    families = tuple({*builds, *known().releases})
    counts: Counter[int] = Counter()
    os.chdir(given.folder.parent)  # paths in examples are taken from the repository
    for file in sorted(one for one in given.folder.rglob("*") if one.suffix in (".yaml", ".yml", ".json")):
        what, why = told(file, families, builds, given.transformers)
        counts[what] += 1
        sys.stdout.write(f"{what}\t{file.name}\t{why}\n")
    for what, text in enumerate(COME_TO):
        sys.stdout.write(f"| {text} | {counts[what]} |\n")


if __name__ == "__main__":
    main()
