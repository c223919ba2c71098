"""``ckptdoctor matrix``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ckptdoctor.cli import progress
from ckptdoctor.cli.options import matrix_options
from ckptdoctor.cli.printing import Destination, format_options
from ckptdoctor.errors import UsageFault
from ckptdoctor.model.exit_status import ExitStatus

if TYPE_CHECKING:
    from ckptdoctor.matrix.request import MatrixRequest


@click.command("matrix")
@click.option(
    "--vary",
    metavar="REQUIREMENT|FOLDER",
    multiple=True,
    help="Judge these releases, e.g. 'transformers>=4.46', ./transformers or ./transformers@branch, in every combination "
    "with the others. Repeatable.",
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
@click.option("--shard", metavar="K/N", help="Run the K-th of N parts, so that N jobs share the work. See merge.")
@click.option(
    "--executor",
    metavar="ray[=ADDRESS]",
    default="local",
    help="Run on the nodes of a Ray cluster: the one of this machine, or the one at ADDRESS. Default: this machine alone.",
)
@click.argument("words", nargs=-1, metavar="[merge STORE...]")
@format_options("map")
def command(request: MatrixRequest, words: tuple[str, ...], to: Destination) -> int:
    """Judge every combination of releases with tiny training steps: which versions work together?

    Releases go into overlays; the environment is not modified. Of releases with the same code only one is run, and results
    that are inferred from it are marked. Trainers are alternatives to each other. If --vary names a package again, its
    releases join the same axis. Results are kept as they come: run the command again to continue after an interrupt.

    \b
    ckptdoctor matrix --vary 'transformers>=4.46' --vary 'llamafactory>=0.9'
    ckptdoctor matrix --vary 'transformers>=4.46' --every minor --checkpoint-fn mine.py:checkpoint
    ckptdoctor matrix --vary ./transformers --model all --checkpoint-fn torch         every family that learns a language

    Several jobs share a map with --shard, each with a store of its own. `merge` adds the results of their stores to the one of
    --store; the same command without --shard then prints the whole map, and runs only what is still missing.

    
    ckptdoctor matrix --shard 1/2 --store one.db --vary 'transformers>=4.46' --vary 'llamafactory>=0.9'
    ckptdoctor matrix merge one.db two.db --store all.db

    Exit status: 0 all fine, 1 some fail, 2 wrong usage, 3 nothing could be diagnosed.
    """  # noqa: D301 - click wants the character itself
    from collections import Counter

    from ckptdoctor.matrix.run import matrix, verdict_status

    if words:
        return _merge(request, words)
    if not request.vary:
        raise UsageFault("Missing option '--vary'.", "name the releases, as in --vary 'transformers>=4.46'")
    with progress.reporter("matrix", progress.of_matrix(request)) as reporter:
        made = matrix(request, reporter)
    to.show(made)
    if request.shard and not made.cells:  # there are more shards than parts
        return ExitStatus.OK
    return verdict_status(Counter(cell.verdict for cell in made.cells))


def _merge(request: MatrixRequest, words: tuple[str, ...]) -> int:
    """Add the results of other stores to one."""
    from ckptdoctor.matrix.store import Store

    if words[0] != "merge" or len(words) < 2:
        raise UsageFault(
            f"'{words[0]}' is not understood here.", "write: ckptdoctor matrix merge STORE... --store FILE"
        )
    if request.store is None:
        raise UsageFault("merge needs a file to write to.", "name it with --store FILE")
    with Store(request.store) as store:
        for name in words[1:]:
            added = store.take_in(Path(name))
            click.echo(f"{name}: {added} results added")
    return ExitStatus.OK
