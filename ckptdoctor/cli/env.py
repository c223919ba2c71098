"""``ckptdoctor env``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ckptdoctor.cli import progress
from ckptdoctor.cli.options import target_options
from ckptdoctor.cli.printing import Destination, format_options
from ckptdoctor.model.exit_status import ExitStatus

if TYPE_CHECKING:
    from ckptdoctor.planning.request import Request


@click.command("env")
@target_options
@format_options("environment")
def command(request: Request, to: Destination) -> int:
    """Print the stack: the installed packages that decide whether checkpointing works.

    Nothing is imported. Declared requirements that the installed versions do not meet are listed as well.
    """
    from ckptdoctor.diagnose import look

    with progress.reporter("env") as report:
        environment = look(request, report)
    to.show(environment)
    return ExitStatus.OK
