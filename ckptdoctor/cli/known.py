"""``ckptdoctor known``."""

from __future__ import annotations

import click

from ckptdoctor.cli.printing import Destination, format_options
from ckptdoctor.model.exit_status import ExitStatus


@click.command("known")
@click.argument("package", required=False)
@click.option("--model", metavar="FAMILY", default="", help="Show one model family. Default: all that were measured.")
@format_options("map")
def command(package: str | None, model: str, to: Destination) -> int:
    """Print the compatibility map that is shipped with ckptdoctor. Nothing is run, and no network is needed.

    \b
    ckptdoctor known                   all packages
    ckptdoctor known llamafactory      one package, and what it was run with
    """  # noqa: D301 - click wants the character itself
    from ckptdoctor import knowledge

    to.show(knowledge.about(package or "", model))
    return ExitStatus.OK
