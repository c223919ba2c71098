"""``ckptdoctor known``."""

from __future__ import annotations

import click

from ckptdoctor.cli import shared
from ckptdoctor.store import writing


@click.command("known", short_help="Print what is known: which releases work together, as measured and shipped.")
@click.argument("package", required=False)
@click.option("--model", metavar="FAMILY", default="", help="One model family. Default: all that were measured.")
@shared.format_options("text", "json", "markdown", "csv", "html")
def command(package: str | None, model: str, format_: str, output: str | None) -> int:
    """Print the compatibility map that is shipped with ckptdoctor: offline, at once, nothing is run.

    \b
    ckptdoctor known                   all of it
    ckptdoctor known llamafactory      one package with what it was run with
    """  # noqa: D301 - click wants the character itself
    from ckptdoctor import knowledge
    from ckptdoctor.output import maps

    writing.require_writable(output)
    found = knowledge.about(package or "", model)
    shared.write(maps.render(format_, found, shared.style(output)), output)
    return 0
