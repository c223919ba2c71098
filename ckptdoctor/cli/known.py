"""``ckptdoctor known``."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from msgspec import structs

from ckptdoctor.cli import progress
from ckptdoctor.cli.options import PYTHON
from ckptdoctor.cli.printing import Destination, format_options
from ckptdoctor.errors import UsageFault
from ckptdoctor.model.exit_status import ExitStatus

if TYPE_CHECKING:
    from packaging.requirements import Requirement

    from ckptdoctor.matrix.extending import Extended
    from ckptdoctor.model.compatibility import Map

_PLAIN_NAME = re.compile(r"[A-Za-z0-9._-]+")

_NAMED = 5
"""Combinations that could not be measured, as many as are named."""


@click.command("known")
@click.argument("packages", nargs=-1, metavar="[PACKAGE|REQUIREMENT]...")
@click.option("-r", "--requirement", "files", metavar="FILE", multiple=True, help="Ask about this file. Repeatable.")
@click.option("--model", metavar="FAMILY", default="", help="Show one model family. Default: all that were measured.")
@click.option(
    "--extend",
    is_flag=True,
    help="First measure here what is not known: the releases of the question, or those that came since.",
)
@PYTHON
@click.option(
    "--offline",
    is_flag=True,
    envvar="CKPTDOCTOR_OFFLINE",
    help="Do not ask the index which releases came since. It is asked once a day.",
)
@format_options("map")
def command(
    packages: tuple[str, ...],
    files: tuple[str, ...],
    model: str,
    extend: bool,
    python: str | None,
    offline: bool,
    to: Destination,
) -> int:
    """Print the compatibility map that is shipped with ckptdoctor, or answer a question out of it.

    Nothing is run, and no network is needed. If there is one, the index is asked once a day which releases came since.

    \b
    ckptdoctor known                                              the whole map
    ckptdoctor known --format html -o map.html                    the whole map as a page that answers
    ckptdoctor known llamafactory                                 one package, and what it was run with
    ckptdoctor known llamafactory==0.9.4 transformers==5.8.1      does this work together?
    ckptdoctor known 'llamafactory>=0.9.3' 'transformers<6'       which of these work together?
    ckptdoctor known -r requirements.txt                          a file of requirements
    pip freeze | ckptdoctor known -                               what is installed

    A question is answered in text or JSON. It is about the pair of a trainer and transformers; other packages are left out.

    --extend first measures the combinations that are not known, as `matrix` does: in overlays of the environment of --python,
    which needs torch and is not modified. They are kept in the cache, and check, fix and explain go by them too. Where --model
    names another family, or `all`, and the question no trainer, that is measured with torch's own functions.

    \b
    ckptdoctor known --extend                                     the releases that came since
    ckptdoctor known --extend llamafactory==0.9.5 transformers==5.25.0

    Exit status of a question: 0 all that was asked about works, 1 something fails, 3 not known. 2 wrong usage.
    """  # noqa: D301 - click wants the character itself
    from ckptdoctor import knowledge
    from ckptdoctor.output import formats

    is_question = (
        bool(files) or len(packages) > 1 or any(one == "-" or not _PLAIN_NAME.fullmatch(one) for one in packages)
    )
    if is_question and to.format not in formats("answer"):
        raise UsageFault(f"A question is not answered as {to.format}.", "use --format text or --format json")
    requirements, unread = _asked(packages, files)
    if extend:
        _extend(requirements, model, python)
        model = "" if model == "all" else model
    if is_question:
        return _answer(requirements, unread, model, offline, to)
    found = knowledge.about("".join(packages), model)
    _, notes = _released_since(found, found.axes, offline or to.format == "csv")
    found = structs.replace(found, notes=[*found.notes, *notes])
    is_whole = to.format == "html" and not packages and not model
    to.show(knowledge.Knowledge(found, knowledge.load(knowledge.FAMILIES_FILE)) if is_whole else found)
    return ExitStatus.OK


def _asked(packages: Sequence[str], files: Sequence[str]) -> tuple[list[Requirement], list[str]]:
    """The requirements of a question, and the lines that could not be read as such."""
    from ckptdoctor.environment.requirements import parse_requirement
    from ckptdoctor.knowledge import asking

    found, unread = asking.requirements_in([*_lines(files), *(sys.stdin if "-" in packages else ())])
    return found + [
        parse_requirement(one) for one in asking.spelled_out([one for one in packages if one != "-"])
    ], unread


def _answer(
    requirements: Sequence[Requirement], unread: Sequence[str], model: str, offline: bool, to: Destination
) -> int:
    from ckptdoctor import knowledge
    from ckptdoctor.knowledge import asking

    answer = asking.ask(requirements, model, unread)
    since, notes = _released_since(knowledge.load(), asking.wanted(requirements), offline)
    answer = structs.replace(answer, since=since, notes=(*answer.notes, *notes))
    to.show(answer)
    return answer.status


def _extend(requirements: Sequence[Requirement], model: str, python: str | None) -> None:
    """Measure what is asked for and not known, and keep it."""
    from packaging.specifiers import SpecifierSet

    from ckptdoctor import catalog, knowledge
    from ckptdoctor.knowledge import asking
    from ckptdoctor.knowledge.pairs import MODEL_LIBRARY
    from ckptdoctor.matrix import extending, extending_families
    from ckptdoctor.words.wording import listed

    wanted = asking.wanted(requirements)
    is_other = bool(model) and model not in extending.OPTIONS.models
    if is_other and any(map(catalog.is_trainer, wanted)):
        raise UsageFault(
            f"--extend measures trainers with the families {listed(extending.OPTIONS.models)}, not with {model}.",
            f"measure a map of {model}: ckptdoctor matrix --model {model} --vary transformers==RELEASE --vary TRAINER",
        )
    file = knowledge.FAMILIES_FILE if is_other else knowledge.TRAINERS_FILE
    with progress.reporter("known", [python, model]) as reporter:
        if is_other:
            releases = wanted.get(MODEL_LIBRARY, SpecifierSet())
            found = extending_families.extend(model, releases, python, progress=reporter)
        else:
            found = extending.extend(wanted, python, progress=reporter)
    click.echo(_told(found, extending.keep(found, file) if found.added.cells else ""), err=True)


def _told(found: Extended, file: str) -> str:
    """What was measured, in a few lines."""
    from ckptdoctor.words.escape import plain
    from ckptdoctor.words.wording import counted

    lines = [f"not measured: {plain(one)}" for one in found.failed[:_NAMED]]
    lines += [f"not measured: {len(found.failed) - _NAMED} more"] if len(found.failed) > _NAMED else []
    if found.added.cells:
        added = counted(len(found.added.cells), "combination")
        lines.append(f"{added} added to what is known ({found.ran} run here): {plain(file)}")
    return "\n".join(lines or ["All of this was known: nothing was run."])


def _released_since(
    known: Map, packages: Iterable[str], offline: bool
) -> tuple[dict[str, tuple[str, ...]] | None, tuple[str, ...]]:
    """Which releases came since some map was measured, and the same in sentences; nothing of both offline."""
    from ckptdoctor import since

    if offline or since.is_offline(os.environ):
        return None, ()
    found = since.newer(known, packages)
    return found, since.sentences(found, known)


def _lines(files: Sequence[str]) -> list[str]:
    lines: list[str] = []
    for file in files:
        try:
            lines += Path(file).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not text"
            raise UsageFault(f"{file} cannot be read: {reason}.", "name a file of requirements with -r") from error
    return lines
