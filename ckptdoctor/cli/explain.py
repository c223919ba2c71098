"""``ckptdoctor explain``."""

from __future__ import annotations

import click

from ckptdoctor.cli import shared
from ckptdoctor.store import writing

STATUS = {"ours": 0, "suspected": 1, "not ours": 3, "nothing found": 3}


@click.command("explain", short_help="Say what a log or an issue text shows, without running anything.")
@click.argument("file", metavar="FILE|-")
@shared.format_options("text", "json")
def command(file: str, format_: str, output: str | None) -> int:
    """Say of a log or an issue text which rule it is, whose code reads and whose passes, and what is known to work.

    Nothing is run. Paste the text as it is: with prefixes of ranks and loggers, colours, quotes, boxes, wrapped lines, JSON
    records, or in part. A claim rests on what the text shows. If the text only suggests a rule, the verdict is SUSPECTED.

    \b
    ckptdoctor explain train.log
    llamafactory-cli train job.yaml 2>&1 | ckptdoctor explain -

    Exit status: 0 explained, 1 only suspected, 2 wrong usage, 3 not one of ours or nothing found.
    """  # noqa: D301 - click wants the character itself
    from ckptdoctor.explain import explain, reading
    from ckptdoctor.output import explanation

    writing.require_writable(output)
    log = reading.read(file)
    found = explain.explain(log.text)
    found.doubts += log.notes
    shared.write(explanation.render(format_, found, shared.style(output)), output)
    return STATUS[found.verdict]
