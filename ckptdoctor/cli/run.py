"""``ckptdoctor run``."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import Any, NoReturn

import click

COMMAND: dict[str, Any] = {
    # What follows the command's name is the command's, whatever it looks like.
    "context_settings": {"allow_interspersed_args": False},
    "options_metavar": "[OPTIONS] [--]",
}
"""What the commands share that start another one."""

WORDS = click.argument("words", metavar="COMMAND [ARGUMENTS]...", nargs=-1, required=True, type=click.UNPROCESSED)


@click.command("run", **COMMAND)
@click.option(
    "--watch", is_flag=True, help="Observe the first steps as well, and print a report, as `ckptdoctor watch` does."
)
@WORDS
def command(words: tuple[str, ...], watch: bool) -> int:
    """Run a training command with its checkpoint function adapted. No file changes.

    \b
    ckptdoctor run -- llamafactory-cli train job.yaml
    ckptdoctor run -- torchrun --nproc-per-node 8 train.py

    Some checkpoint functions look for the layer inside the callable that the model passes, and fail if the model passes
    a callable of another form. Here such a function finds the layer: in this command, and in every Python that the
    command starts on this machine. A line on standard error says when this happens. Functions that work are not changed.

    The command gets a folder on PYTHONPATH. This does not reach Python that starts with -I, -E or -S or with a new
    environment, or other machines, unless they have the same folder and get the variable.

    Exit status: the status of the command; 127 if it is not found, 126 if it cannot be started.
    """  # noqa: D301 - click wants the character itself
    from ckptdoctor.observe import hooked
    from ckptdoctor.observe.starting import starting
    from ckptdoctor.words.escape import one_line

    if watch:
        from ckptdoctor.cli import watch as watching
        from ckptdoctor.cli.printing import Destination

        text = [Destination("text")]
        return watching.watch(
            words, ("adapt", "watch"), "run", steps=2, stop_on="never", evidence=None, destinations=text
        )
    with suppress(OSError, ValueError):  # closed
        # Its arguments may hold secrets, and this may go to a log.
        click.echo(f"ckptdoctor run: active for {one_line(words[0], 200)}", err=True)
    with starting(words[0]):
        return _become(words, hooked.environment(("adapt",), os.environ))


def _become(words: tuple[str, ...], environ: dict[str, str]) -> NoReturn:
    """Be the command from here on, so that signals, input, output and exit status are its own."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and a program that is started inherits that
        signal.signal(number, signal.SIG_DFL)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os.execvpe(words[0], words, environ)  # noqa: S606 - no shell is wanted
