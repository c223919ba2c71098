"""``ckptdoctor bisect``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from ckptdoctor.cli import progress
from ckptdoctor.cli.options import matrix_options
from ckptdoctor.cli.printing import Destination, format_options
from ckptdoctor.errors import UsageFault
from ckptdoctor.model.exit_status import ExitStatus

if TYPE_CHECKING:
    from ckptdoctor.matrix.request import MatrixRequest


@click.command("bisect")
@click.argument("axis", metavar="REQUIREMENT|FOLDER")
@click.option("--good", metavar="RELEASE|REF", default="", help="Start from this release or commit, which works.")
@click.option(
    "--bad",
    metavar="RELEASE|REF",
    default="",
    help="Start from this release or commit, which fails. It may be the older one.",
)
@matrix_options
@format_options("bisection")
def command(axis: str, good: str, bad: str, request: MatrixRequest, to: Destination) -> int:
    """Find the release where checkpointing starts to fail, or, if --bad is the older release, to work.

    Without --good and --bad, all such releases are found. Of a git clone, the commit is found.

    \b
    ckptdoctor bisect transformers --good 4.50.3 --bad 4.51.3 --with llamafactory==0.9.2
    ckptdoctor bisect 'llamafactory>=0.9' --with transformers==4.51.3
    ckptdoctor bisect ./LLaMA-Factory --good v0.9.3 --bad main --with transformers==4.51.3

    Exit status: 0 found, 2 wrong usage, 3 there is no such release, or it cannot be diagnosed.
    """  # noqa: D301 - click wants the character itself
    from ckptdoctor.matrix.bisect import bisect

    if bool(good) != bool(bad):
        raise UsageFault("--good and --bad belong together.", "give both, or neither to find all changes")
    with progress.reporter("bisect", progress.of_matrix(request)) as reporter:
        found = bisect(replace(request, vary=[axis]), good, bad, reporter)
    to.show(found)
    return ExitStatus.OK if found.lines else ExitStatus.UNDIAGNOSED
