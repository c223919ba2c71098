"""``ckptdoctor matrix``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ckptdoctor.cli import progress
from ckptdoctor.cli.options import matrix_options
from ckptdoctor.cli.printing import Destination, format_options

if TYPE_CHECKING:
    from ckptdoctor.matrix.request import MatrixRequest


@click.command("matrix")
@click.option(
    "--vary",
    metavar="REQUIREMENT",
    multiple=True,
    required=True,
    help="Judge these releases of a package, e.g. 'transformers>=4.46', in every combination with the others. Repeatable.",
)
@matrix_options
@click.option(
    "--every",
    type=click.Choice(["patch", "minor", "major"]),
    help="Keep only the last release of each patch, minor or major version.",
)
@click.option("--pre", is_flag=True, help="Include pre-releases.")
@click.option("--yanked", is_flag=True, help="Include yanked releases.")
@click.option("--exhaustive", is_flag=True, help="Run every combination, even if the relevant code is the same.")
@click.option(
    "--audit",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Run N of the inferred combinations as well, and compare.",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Choose the combinations of --audit with this seed."
)
@format_options("map")
def command(request: MatrixRequest, to: Destination) -> int:
    """Judge every combination of releases with tiny training steps: which versions work together?

    Releases go into overlays; the environment is not modified. Of releases with the same code only one is run, and results
    that are inferred from it are marked. Trainers are alternatives to each other. If --vary names a package again, its
    releases join the same axis. Results are kept as they come: run the command again to continue after an interrupt.

    \b
    ckptdoctor matrix --vary 'transformers>=4.46' --vary 'llamafactory>=0.9'
    ckptdoctor matrix --vary 'transformers>=4.46' --every minor --checkpoint-fn mine.py:checkpoint

    Exit status: 0 all fine, 1 some fail, 2 wrong usage, 3 nothing could be diagnosed.
    """  # noqa: D301 - click wants the character itself
    from collections import Counter

    from ckptdoctor.matrix.run import matrix, verdict_status

    with progress.observer() as observer:
        made = matrix(request, observer)
    to.show(made)
    return verdict_status(Counter(cell.verdict for cell in made.cells))
