"""``ckptdoctor env``."""

from __future__ import annotations

import click

from ckptdoctor.cli import shared


@click.command("env", short_help="Print the stack: the packages that matter, as installed.")
@shared.target_options
@click.option("--format", "format_", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(python: str | None, requirements: tuple[str, ...], with_deps: bool, format_: str) -> int:
    """Print the stack of an environment: the packages that decide whether checkpointing works, as installed.

    Nothing is imported. Declared requirements that the installed versions do not meet are listed as well.
    """
    from ckptdoctor.diagnose import look
    from ckptdoctor.output.environment import render
    from ckptdoctor.output.json import indented
    from ckptdoctor.planning.request import Request

    with shared.progress() as progress:
        environment = look(Request(python, requirements, with_deps), progress)
    if format_ == "json":
        shared.write(indented(environment), None)
    else:
        shared.write(render(environment, shared.style(None)), None)
    return 0
