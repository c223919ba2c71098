"""Writes the knowledge: ``python -m ckptdoctor.measure --python TARGET``, and what the documents say of it.

The target needs torch and nothing else. What is written is all there is in ``knowledge/``: no line of it is typed by hand.
With ``--take-in``, nothing is run: what ``ckptdoctor known --extend`` measured on this machine becomes a part of what ships.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import click
import msgspec

from ckptdoctor import catalog, knowledge, measure_documents
from ckptdoctor.cli import progress
from ckptdoctor.environment import interpreter
from ckptdoctor.environment.index import Index
from ckptdoctor.environment.session import Session
from ckptdoctor.errors import TargetError
from ckptdoctor.knowledge import layers, packed
from ckptdoctor.matrix import extending, extending_families, questions, released_files
from ckptdoctor.matrix.combination import Base, Combination
from ckptdoctor.matrix.environments import Environments
from ckptdoctor.matrix.request import MatrixRequest
from ckptdoctor.matrix.run import index, matrix
from ckptdoctor.model import declared
from ckptdoctor.model.compatibility import Map, Run
from ckptdoctor.model.evidence import Environment
from ckptdoctor.planning.options import ALL, Options
from ckptdoctor.store import locations, writing


@dataclass(frozen=True)
class Chapter:
    """One map of the knowledge."""

    file: str
    vary: tuple[str, ...]
    options: Options
    requirements: tuple[str, ...] = ()
    """What checkpoint functions need beside transformers."""
    audit: int = 0
    takes_hours: bool = False
    """It is measured only if it is named."""


CHAPTERS = {
    "trainers": Chapter(
        knowledge.TRAINERS_FILE,
        ("transformers>=4.40", *(one for trainer in catalog.trainers().values() for one in trainer.measured)),
        extending.OPTIONS,
        extending.ADDED,
        100,
    ),
    "deepspeed": Chapter(
        # The releases of two years; with the first transformers that has GLM-4-0414, and the last that old DeepSpeed takes.
        knowledge.DEEPSPEED_FILE,
        (
            "deepspeed>=0.16",
            "transformers==4.51.3",
            "transformers==4.57.6",
            "llamafactory==0.9.2",
            "llamafactory==0.9.5",
        ),
        Options(
            models=("glm4",),
            engines=("none", *(name for name in catalog.engines() if catalog.needs(name, "deepspeed"))),
        ),
    ),
    "families": Chapter(
        knowledge.FAMILIES_FILE,
        ("transformers>=4.40",),
        replace(extending_families.OPTIONS, models=(ALL,)),
        audit=200,
        takes_hours=True,
    ),
}


@click.command()
@click.option("--python", default="", help="Use this Python, which has torch; releases go into overlays.")
@click.option("--take-in", is_flag=True, help="Run nothing; add what `ckptdoctor known --extend` measured here.")
@click.option(
    "--only", "names", type=click.Choice(list(CHAPTERS)), multiple=True, help="Measure only this. Repeatable."
)
@click.option("--jobs", type=int, default=0, help="Use this many environments at a time.")
@click.option("--onward", is_flag=True, help="Go on from the map that ships: run only what it does not have.")
@click.option("--refresh", is_flag=True, help="Run again what an earlier run measured.")
def main(python: str, take_in: bool, names: tuple[str, ...], jobs: int, onward: bool, refresh: bool) -> None:
    """Run what the knowledge is made of, and write it."""
    if bool(python) == take_in:
        raise click.UsageError("Give either --python or --take-in.")
    if take_in:
        _take_in()
    else:
        _measure(python, names, jobs, onward, refresh)
    knowledge.shipped.cache_clear()
    measure_documents.main()


def _take_in() -> None:
    """Add what was measured here to the shipped maps: not as measured here any more, since it ships."""
    for file in (knowledge.TRAINERS_FILE, knowledge.FAMILIES_FILE):
        shipped, own = knowledge.shipped(file), layers.own(file)
        made = layers.together(shipped, own) if own else shipped
        runs = [msgspec.structs.replace(run, here=False) for run in made.runs]
        made = declared.marked(msgspec.structs.replace(made, runs=runs, date=max(run.date for run in runs)))
        with index() as releases:
            made = _dated(made, releases)
            if file == knowledge.TRAINERS_FILE:
                made = released_files.complete(made, releases)
        writing.write(knowledge.FOLDER / file, packed.pack(made))
        click.echo(f"{file}: {len(made.cells) - len(shipped.cells)} cells added", err=True)


def _dated(made: Map, releases: Index) -> Map:
    """A map with the day of each of its releases that has none yet, as far as the index says."""
    released = {name: dict(made.released.get(name, {})) for name in made.axes}
    for name, days in released.items():
        lacking = [one for one in made.axes[name] if one not in days]
        if lacking:
            days |= {one.version: one.date for one in releases.releases(name) if one.version in lacking and one.date}
    return msgspec.structs.replace(made, released=released)


def _measure(python: str, names: tuple[str, ...], jobs: int, onward: bool, refresh: bool) -> None:
    for name in names or [name for name, one in CHAPTERS.items() if not one.takes_hours]:
        chapter = CHAPTERS[name]
        request = MatrixRequest(
            chapter.vary,
            python,
            chapter.requirements,
            chapter.options,
            audit=chapter.audit,
            jobs=jobs,
            refresh=refresh,
        )
        with progress.reporter("measure", progress.of_matrix(request)) as reporter:
            made = matrix(request, reporter, _shipped(chapter.file) if onward else None)
        made = _complete(made, python)
        if chapter.file == knowledge.TRAINERS_FILE:
            with index() as releases:
                made = released_files.complete(made, releases)
        writing.write(knowledge.FOLDER / chapter.file, packed.pack(made))
        click.echo(f"{chapter.file}: {len(made.runs)} runs, {len(made.cells)} cells, {made.audit}", err=True)


def _shipped(file: str) -> dict[Combination, Run]:
    """The runs of a map that ships, by what was run."""
    known = knowledge.shipped(file)
    return {
        Combination(tuple(cell.stack.items()), cell.model): known.run_of(cell)
        for cell in known.cells
        if cell.how == "measured"
    }


def _complete(made: Map, python: str) -> Map:
    """Add what the releases of trainers require of which it is not known: remedies name the pins that they break."""
    target = interpreter.find(python, os.environ)
    with Session(target, None, 1, locations.cache()) as session:
        facts = session.look()
    for name in [name for name in made.axes if catalog.is_trainer(name)]:
        known = made.requires.setdefault(name, {})
        missing = [release for release in made.axes[name] if release not in known]
        known.update(_requirements(name, missing, target, facts))
    return declared.marked(made)


def _requirements(name: str, releases: list[str], target: Path, facts: Environment) -> dict[str, list[str]]:
    found = {}
    with Environments(target, facts, locations.cache()) as environments:
        for release in releases:
            requirement = f"{name}=={release}"
            try:
                overlay = environments.trainer(Base(), requirement)
            except TargetError:
                continue  # it cannot be had here, so nothing is claimed of it
            found[release] = questions.trainer_in(overlay, requirement, facts).requires
    return found


if __name__ == "__main__":
    main()
