"""``ckptdoctor explain``."""

from __future__ import annotations

import click

from ckptdoctor.cli.printing import Destination, format_options
from ckptdoctor.model.exit_status import ExitStatus

STATUS = {
    "ours": ExitStatus.OK,
    "suspected": ExitStatus.FOUND,
    "not ours": ExitStatus.UNDIAGNOSED,
    "nothing found": ExitStatus.UNDIAGNOSED,
}


@click.command("explain")
@click.argument("file", metavar="FILE|-")
@format_options("explanation")
def command(file: str, to: Destination) -> int:
    """Explain a log or an issue text: which rule it shows, whose code fails, and which versions are known to work.

    Nothing is run. Paste the text as it is, or a part of it: prefixes of ranks and loggers, colours, quotes, boxes, wrapped
    lines and JSON records do no harm. The diagnosis uses the text alone; releases that work come from the shipped map. If
    the text only suggests a rule, the verdict is SUSPECTED.

    \b
    ckptdoctor explain train.log
    llamafactory-cli train job.yaml 2>&1 | ckptdoctor explain -

    Exit status: 0 explained, 1 only suspected, 2 wrong usage, 3 not related to checkpointing or nothing found.
    """  # noqa: D301 - click wants the character itself
    from ckptdoctor.explain import explain, reading

    log = reading.read(file)
    found = explain.explain(log.text)
    found.doubts += log.notes
    to.show(found)
    return STATUS[found.verdict]
