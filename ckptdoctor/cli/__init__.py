"""The command line: one file a command; it parses, wires and prints, and holds no logic."""

from __future__ import annotations

import errno
import importlib
import itertools
import os
import signal
import sys
import time
from io import TextIOWrapper
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from ckptdoctor.model.exit_status import ExitStatus
from ckptdoctor.model.version import __version__

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

SUMMARIES = {
    "check": "Run tiny real training steps in an environment and judge them.",
    "fix": "Find what fixes an environment, prove it, and apply it on request.",
    "run": "Run a training command with its checkpoint function adapted. No file changes.",
    "watch": "Run a training command unchanged, observe its first steps, and judge them.",
    "rehearse": "Run a training command small, on this machine, in about a minute, and judge it.",
    "scan": "Find code that relies on how transformers checkpoints. Nothing is imported.",
    "explain": "Explain a log or an issue text. Nothing is run.",
    "report": "Pack a bug report with a script that reproduces it, without private data.",
    "matrix": "Find which releases work together.",
    "impact": "Say what a change of a package breaks: every trainer, before and after.",
    "bisect": "Find the release where checkpointing starts to fail, or to work.",
    "known": "Print the shipped compatibility map.",
    "env": "Print the stack: the packages that matter, as installed.",
    "rule": "Explain a rule, or list all rules.",
    "cache": "Show, prune or clear the cache.",
}
"""Each command, with what it does; kept here, so that ``--help`` imports none of them."""

COMMANDS = tuple(SUMMARIES)

COMPLETING = "_CKPTDOCTOR_COMPLETE"
"""Is set by a shell that asks for its script, or for completions."""


class Lazy(click.Group):
    """Imports a command only when it is run: ``--help`` and ``--version`` answer at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which they are met."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name."""
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f"ckptdoctor.cli.{cmd_name}").command
        if not isinstance(command, click.Command):
            return None
        if COMPLETING in os.environ:
            from ckptdoctor.cli import completing

            completing.attach(command)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The commands that begin so, without importing them, and the options."""
        from click.shell_completion import CompletionItem

        names = [CompletionItem(name, help=SUMMARIES[name]) for name in COMMANDS if name.startswith(incomplete)]
        return [*names, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Their names and what they are for, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, SUMMARIES[name]) for name in COMMANDS])


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="ckptdoctor", message="%(prog)s %(version)s")
@click.option("--debug", is_flag=True, help="Show tracebacks of ckptdoctor's own errors.")
def group(debug: bool) -> None:
    """Check whether gradient checkpointing works in a training environment. If not, find the cause and what fixes it.

    \b
    ckptdoctor check                            check the active environment
    ckptdoctor check --python ~/envs/train      check another one; nothing is installed in it
    ckptdoctor check --with llamafactory==0.9.3 test with this version, in an overlay

    Exit status: 0 nothing found, 1 findings, 2 wrong usage, 3 could not be diagnosed.
    """  # noqa: D301 - click wants the character itself


def main() -> None:
    """Run the command line and end the process with its exit status."""
    _prepare_streams()
    interrupt = _Interrupt()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # the others leave as little behind as Ctrl-C does
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, interrupt)
    sys.exit(run_command(sys.argv[1:]))


class _Interrupt:
    """What a signal to stop does: the first one stops, and others are ignored while that clears up."""

    CLEARING_UP = 10.0
    """Seconds that it may take."""

    def __init__(self) -> None:
        self._stopped = float("-inf")

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if time.monotonic() - self._stopped > self.CLEARING_UP:
            self._stopped = time.monotonic()
            raise KeyboardInterrupt


def _prepare_streams() -> None:
    """Open the standard streams that were closed, and have text that one of them cannot encode written as escapes.

    The status counts where nothing can be printed; and a descriptor left free would be taken by the next file opened.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDONLY if number == 0 else os.O_WRONLY)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            if number:  # a closed input stays None, so that whoever wants to read it can say so
                setattr(sys, name, os.fdopen(number, "w", encoding="utf-8", closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def run_command(arguments: list[str]) -> int:
    """Run one command and return its exit status.

    Not called ``run``: the package gets an attribute of that name once the command ``run`` is imported.
    """
    from ckptdoctor.errors import DoctorError

    # What stands behind a command's name is the command's, or that of the job it starts.
    ours = itertools.takewhile(lambda one: one.startswith("-"), arguments)
    debug = "--debug" in ours or bool(os.environ.get("CKPTDOCTOR_DEBUG"))
    if COMPLETING in os.environ:
        from ckptdoctor.cli import completing

        completing.register()
    try:
        status = group.main(arguments, prog_name="ckptdoctor", standalone_mode=False)
        sys.stdout.flush()
    except DoctorError as error:
        if debug:
            raise
        return _complain(error.message, error.hint, error.status)
    except click.ClickException as error:
        error.show()
        return ExitStatus.USAGE
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return ExitStatus.INTERRUPTED
    except (BrokenPipeError, SystemExit):
        # The reader has gone, which click turns into an exit of its own, and is no fault of ours; nothing more may be
        # written, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitStatus.READER_GONE
    except OSError as error:
        if debug:
            raise
        return _complain(*_explained(error), ExitStatus.UNDIAGNOSED)
    except MemoryError:
        if debug:
            raise
        return _complain("Memory ran out.", HINTS[errno.ENOMEM], ExitStatus.UNDIAGNOSED)
    except Exception as error:
        if debug:
            raise
        return _unforeseen(error)
    return status if isinstance(status, int) else ExitStatus.OK


ANOTHER_FOLDER = "set TMPDIR and CKPTDOCTOR_CACHE to folders {}"
PERMISSIONS = (
    f"change its permissions or name another file; for ckptdoctor's own files, {ANOTHER_FOLDER.format('of yours')}"
)
HINTS = {
    errno.EACCES: PERMISSIONS,
    errno.EPERM: PERMISSIONS,
    errno.EROFS: ANOTHER_FOLDER.format("on a disk that can be written to"),
    errno.ENOSPC: f"free some space, or {ANOTHER_FOLDER.format('on another disk')}",
    errno.EDQUOT: f"free some space, or {ANOTHER_FOLDER.format('on another disk')}",
    errno.EMFILE: "raise the limit on open files: `ulimit -n 1024`",
    errno.ENFILE: "end other programs: the whole machine has too many files open",
    errno.EAGAIN: "raise the limit on processes (`ulimit -u`, or the container's pids limit), or give --jobs 1",
    errno.ENOMEM: "free some memory, raise the limit (`ulimit -v`, or the container's), or give --jobs 1",
}
"""What to do about errors of the operating system, by their numbers."""


def _explained(error: OSError) -> tuple[str, str]:
    """An error of the operating system, and what to do about it."""
    try:
        Path.cwd()
    except FileNotFoundError:
        return "The current folder is gone.", "change to a folder that exists: `cd`"
    what = f"{error.strerror or error}."
    where = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else ""
    if not where and "temporary directory" in what:
        return "There is no folder for temporary files that can be written to.", "set TMPDIR to one"
    hint = HINTS.get(error.errno or 0, "run the command again with --debug to see where this happens")
    return f"{where}: {what}" if where else what, hint


def _shadow() -> Path | None:
    """A file on ``PYTHONPATH`` that has the name of one of Python's own modules which ckptdoctor uses."""
    for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep):
        for name in sorted(sys.stdlib_module_names) if folder else ():
            file = Path(folder, f"{name}.py")
            if file.is_file():
                return file
    return None


def _unforeseen(error: Exception) -> ExitStatus:
    """Say of any other error what may be behind it."""
    if "can't start new thread" in str(error):
        return _complain("No more threads can be started.", HINTS[errno.EAGAIN], ExitStatus.UNDIAGNOSED)
    if shadow := _shadow():  # which may be a module that _complain needs
        click.echo(f"error: {shadow} hides one of Python's own modules from ckptdoctor.", err=True)
        click.echo("hint: remove that folder from PYTHONPATH and start ckptdoctor again", err=True)
        return ExitStatus.UNDIAGNOSED
    what = f"ckptdoctor itself failed: {type(error).__name__}: {error}"
    return _complain(what, "report it with the output of --debug", ExitStatus.UNDIAGNOSED)


def _complain(message: str, hint: str, status: ExitStatus) -> ExitStatus:
    from ckptdoctor.words.escape import plain

    color = False if os.environ.get("NO_COLOR") else None  # otherwise click sees whether it is a terminal
    click.echo(f"{click.style('error:', fg='red', bold=True)} {plain(message)}", err=True, color=color)
    if hint:
        click.echo(f"{click.style('hint:', fg='cyan', bold=True)} {plain(hint)}", err=True, color=color)
    return status
