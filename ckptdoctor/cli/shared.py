"""Options and printing that several commands share."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from ckptdoctor.errors import UsageFault

Command = TypeVar("Command", bound=Callable[..., Any])


def target_options(command: Command) -> Command:
    """The options that say which environment is meant."""
    for option in reversed(
        (
            click.option(
                "--python",
                metavar="PATH",
                help="The target: an interpreter, an environment's folder, or a Python on PATH. "
                "Default: the active environment, else the Python that runs this.",
            ),
            click.option(
                "--with",
                "requirements",
                metavar="REQUIREMENT",
                multiple=True,
                help="Lay a package over the target, which stays unchanged. Repeatable.",
            ),
            click.option(
                "--with-deps", is_flag=True, help="Lay trainers in with their dependencies, not only themselves."
            ),
        )
    ):
        command = option(command)
    return command


def write(text: str, output: str | None) -> None:
    """Print, or write to a file whole or not at all."""
    if output is None:
        click.echo(text, nl=False)
        return
    path = Path(output)
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except OSError as error:
        raise UsageFault(f"{output} cannot be written: {error.strerror}.", "choose another --output") from error


def require_writable(output: str | None) -> None:
    """Fail before anything is run if its result could not be written.

    Raises:
        UsageFault: The folder is not there or not writable.
    """
    folder = Path(output).parent if output else Path()
    if output and (not folder.is_dir() or not os.access(folder, os.W_OK) or Path(output).is_dir()):
        raise UsageFault(f"{output} cannot be written.", "choose another --output")


def style(color_to: str | None, verbose: bool = False) -> Any:
    """How to print: colour on a terminal only, and never with ``NO_COLOR``."""
    from ckptdoctor.output import Style

    terminal = color_to is None and sys.stdout.isatty()
    return Style(
        color=terminal and not os.environ.get("NO_COLOR"),
        width=shutil.get_terminal_size((100, 24)).columns if terminal else 100,
        verbose=verbose,
        unicode=color_to is not None or "utf" in (sys.stdout.encoding or "").lower(),
    )


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """A line on standard error that says what is going on, on a terminal only."""
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield lambda _: None
        return
    from rich.console import Console

    from ckptdoctor.output.escape import one_line

    console = Console(stderr=True)
    with console.status("starting", spinner="line") as status:
        yield lambda text: status.update(one_line(text, 60).replace("[", "\\["))
