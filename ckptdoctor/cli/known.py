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

from ckptdoctor.cli.printing import Destination, format_options
from ckptdoctor.errors import UsageFault
from ckptdoctor.model.exit_status import ExitStatus

if TYPE_CHECKING:
    from ckptdoctor.model.compatibility import Map

_PLAIN_NAME = re.compile(r"[A-Za-z0-9._-]+")


@click.command("known")
@click.argument("packages", nargs=-1, metavar="[PACKAGE|REQUIREMENT]...")
@click.option("-r", "--requirement", "files", metavar="FILE", multiple=True, help="Ask about this file. Repeatable.")
@click.option(
    "--offline",
    is_flag=True,
    envvar="CKPTDOCTOR_OFFLINE",
    help="Do not ask the index which releases came since. It is asked once a day.",
)
@click.option("--model", metavar="FAMILY", default="", help="Show one model family. Default: all that were measured.")
@format_options("map")
def command(packages: tuple[str, ...], files: tuple[str, ...], offline: bool, model: str, to: Destination) -> int:
    """Print the compatibility map that is shipped with ckptdoctor, or answer a question out of it.

    Nothing is run, and no network is needed. If there is one, the index is asked once a day which releases came since.

    \b
    ckptdoctor known                                              the whole map
    ckptdoctor known llamafactory                                 one package, and what it was run with
    ckptdoctor known llamafactory==0.9.4 transformers==5.8.1      does this work together?
    ckptdoctor known 'llamafactory>=0.9.3' 'transformers<6'       which of these work together?
    ckptdoctor known -r requirements.txt                          a file of requirements
    pip freeze | ckptdoctor known -                               what is installed

    A question is answered in text or JSON. It is about the pair of a trainer and transformers; other packages are left out.

    Exit status of a question: 0 all that was asked about works, 1 something fails, 3 not known. 2 wrong usage.
    """  # noqa: D301 - click wants the character itself
    from ckptdoctor import knowledge

    if not files and len(packages) < 2 and all(_PLAIN_NAME.fullmatch(one) and one != "-" for one in packages):
        found = knowledge.about("".join(packages), model)
        _since, notes = _released_since(found, found.axes, offline or to.format == "csv")
        to.show(structs.replace(found, notes=[*found.notes, *notes]))
        return ExitStatus.OK
    return _answer(packages, files, offline, model, to)


def _released_since(
    known: Map, packages: Iterable[str], offline: bool
) -> tuple[dict[str, tuple[str, ...]] | None, tuple[str, ...]]:
    """Which releases came since some map was measured, and the same in sentences; nothing of both offline."""
    from ckptdoctor import since

    if offline or since.is_offline(os.environ):
        return None, ()
    found = since.newer(known, packages)
    return found, since.sentences(found, known)


def _answer(packages: Sequence[str], files: Sequence[str], offline: bool, model: str, to: Destination) -> int:
    from ckptdoctor import knowledge
    from ckptdoctor.environment.requirements import parse_requirement
    from ckptdoctor.knowledge import asking
    from ckptdoctor.output import formats

    if to.format not in formats("answer"):
        raise UsageFault(f"A question is not answered as {to.format}.", "use --format text or --format json")
    found, unread = asking.requirements_in([*_lines(files), *(sys.stdin if "-" in packages else ())])
    found += [parse_requirement(one) for one in asking.spelled_out([one for one in packages if one != "-"])]
    answer = asking.ask(found, model, unread)
    known = knowledge.load()
    since, notes = _released_since(known, asking.measured_among(found), offline)
    answer = structs.replace(answer, since=since, notes=(*answer.notes, *notes))
    to.show(answer)
    return answer.status


def _lines(files: Sequence[str]) -> list[str]:
    lines: list[str] = []
    for file in files:
        try:
            lines += Path(file).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not text"
            raise UsageFault(f"{file} cannot be read: {reason}.", "name a file of requirements with -r") from error
    return lines
