"""What a command prints or writes: in which format, to which file, in which style."""

from __future__ import annotations

import functools
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

import click

from ckptdoctor.cli import hyperlinks
from ckptdoctor.cli.grouping import Command, grouped
from ckptdoctor.errors import UsageFault
from ckptdoctor.output import USUAL, Style, formats, render
from ckptdoctor.store import writing


def _output(otherwise: str) -> Callable[[Command], Command]:
    return click.option("-o", "--output", metavar="FILE", help=f"Write to this file instead of {otherwise}.")


OUTPUT = _output("stdout")


class Destination(NamedTuple):
    """A format, and the file that it goes to; empty for standard output."""

    format: str
    file: str = ""

    def show(self, value: Any, verbose: bool = False, probes: bool = True, remedies: bool = False) -> None:
        """Print a value, or write it to the file.

        Args:
            value: Something that has the format.
            verbose: Whether to show every probe, each diff, tracebacks and the output of failed probes.
            probes: Whether to say what was run.
            remedies: Whether to show all of each remedy.
        """
        file = self.file or None
        write(render(self.format, value, style(file, verbose, probes, remedies=remedies)), file)


def format_options(subject: str) -> Callable[[Command], Command]:
    """``--format`` and ``--output``; the command gets them as ``to``, a ``Destination`` that can be written.

    Args:
        subject: What is printed, as ``ckptdoctor.output.formats`` takes it.
    """
    names = formats(subject)
    text = "Print in this format."
    option = click.option("--format", "format_", type=click.Choice(names), default=USUAL, show_default=True, help=text)

    def add(command: Command) -> Any:
        @functools.wraps(command)
        def run(format_: str, output: str | None, **given: Any) -> Any:
            writing.require_writable(output)
            return command(to=Destination(format_, output or ""), **given)

        return grouped(option, OUTPUT)(run)

    return add


def several_formats(subject: str, otherwise: str = "stdout") -> Callable[[Command], Command]:
    """The same for several formats at once; the command gets them as ``destinations``.

    Args:
        subject: What is printed, as ``ckptdoctor.output.formats`` takes it.
        otherwise: Where it goes without a file.
    """
    names = formats(subject)
    text = f"Print in this format: {', '.join(names)}. NAME=FILE writes a file. Default: {USUAL}. Repeatable."
    option = click.option("--format", "formats", type=_Format(names), multiple=True, metavar="NAME[=FILE]", help=text)

    def add(command: Command) -> Any:
        @functools.wraps(command)
        def run(formats: Sequence[Destination], output: str | None, **given: Any) -> Any:
            return command(destinations=destinations(formats, output), **given)

        return grouped(option, _output(otherwise))(run)

    return add


if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    _DestinationType = click.ParamType["Destination"]
else:
    _DestinationType = click.ParamType  # not generic in every release of click


class _Format(_DestinationType):
    """``NAME`` or ``NAME=FILE``."""

    name = "format"

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Destination:
        if isinstance(value, Destination):
            return value
        name, equals, file = str(value).partition("=")
        if name not in self._names:
            self.fail(f"'{name}' is not one of {', '.join(self._names)}.", param, ctx)
        if equals and not file:
            self.fail(f"'{value}' names no file.", param, ctx)
        return Destination(name, file)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The formats that begin so."""
        from click.shell_completion import CompletionItem

        return [CompletionItem(name) for name in self._names if name.startswith(incomplete)]


def destinations(formats: Sequence[Destination], output: str | None) -> list[Destination]:
    """Which format goes where.

    Raises:
        UsageFault: Two would be printed, two share a file, or one cannot be written.
    """
    chosen = list(formats) or [Destination(USUAL)]
    printed = [one for one in chosen if not one.file]
    if len(printed) > 1:
        names = " and ".join(one.format for one in printed)
        raise UsageFault(
            f"{names} cannot both be printed.", f"give one of them a file: --format {names.split()[0]}=FILE"
        )
    if output and not printed:
        raise UsageFault("--output has nothing to write: each --format has a file.", "leave out --output")
    chosen = [one if one.file or not output else Destination(one.format, output) for one in chosen]
    files = [str(Path(one.file).absolute()) for one in chosen if one.file]
    for file in files:
        if files.count(file) > 1:
            raise UsageFault(f"{file} would be written twice.", "give each --format a file of its own")
    for one in chosen:
        writing.require_writable(one.file or None)
    return chosen


def write(text: str, output: str | None = None) -> None:
    """Print, or write to a file."""
    if output is None:
        click.echo(text, nl=False)
        return
    writing.write(output, text.encode("utf-8", "backslashreplace"))


def append(text: str, file: str) -> None:
    """Add text to a file that others write as well."""
    try:
        with Path(file).open("a", encoding="utf-8") as handle:
            handle.write(text)
    except OSError as error:
        raise UsageFault(f"{file} cannot be written: {error.strerror}.", "unset the variable that names it") from error


def style(
    file: str | None,
    verbose: bool = False,
    probes: bool = True,
    stream: TextIO | None = None,
    remedies: bool = False,
) -> Style:
    """How to print: colour on a terminal only, never with ``NO_COLOR``, nor on one that says that it is dumb.

    Args:
        file: The file that is written; nothing for a stream.
        verbose: Whether to show every probe, each diff, tracebacks and the output of failed probes.
        probes: Whether to say what was run.
        stream: Standard output if it is not another one.
        remedies: Whether to show all of each remedy.
    """
    stream = stream or sys.stdout
    terminal = file is None and stream.isatty()
    return Style(
        color=terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb",
        width=shutil.get_terminal_size((100, 24)).columns if terminal else 100,
        verbose=verbose,
        unicode=file is not None or "utf" in (stream.encoding or "").lower(),
        probes=probes,
        remedies=remedies,
        links=file is None and hyperlinks.opened(os.environ, terminal),
    )
