"""Options and printing that several commands share."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from ckptdoctor import catalog
from ckptdoctor.errors import UsageFault
from ckptdoctor.store import writing

Command = TypeVar("Command", bound=Callable[..., Any])


def _named(requirement: str) -> str:
    from ckptdoctor.environment.named import named

    return named(requirement)


PYTHON = click.option(
    "--python",
    metavar="PATH",
    help="The target: an interpreter, an environment's folder, or a Python on PATH. "
    "Default: the active environment, else the Python that runs this.",
)
WITH = click.option(
    "--with",
    "requirements",
    metavar="REQUIREMENT",
    multiple=True,
    callback=lambda _context, _option, values: tuple(map(_named, values)),
    help="Test with this package: NAME==RELEASE, a folder, a wheel, a URL. The environment is not modified. Repeatable.",
)
JOB = click.option(
    "--job",
    metavar="FILE",
    help="Probe this very job: a LLaMA-Factory or axolotl file, a TrainingArguments file, or a DeepSpeed configuration.",
)
NPROC = click.option(
    "--nproc",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Run each probe under DeepSpeed in so many processes, with torch's launcher: for faults that need real ranks.",
)
THOROUGH = click.option(
    "--thorough",
    is_flag=True,
    help="Have trainers' functions take the whole course of steps that yours takes, and try each under every engine.",
)
MODEL = click.option(
    "--model",
    "models",
    metavar="FAMILY|FOLDER",
    multiple=True,
    help="Model to probe with: a transformers family (glm4, llama, qwen2, ...), a folder with a config.json (made tiny), "
    "or tiny-glm4, our own. Default: glm4 where there is one. Repeatable.",
)
CHECKPOINT_FN = click.option(
    "--checkpoint-fn",
    "functions",
    metavar="NAME|FILE.py:FUNCTION|MODULE:FUNCTION",
    multiple=True,
    help=f"Checkpoint function to judge: torch, deepspeed, {', '.join(catalog.with_functions())}, or your own. "
    "Default: torch's and those of the installed trainers. Repeatable.",
)
JOBS = click.option("--jobs", type=click.IntRange(min=1), help="Probes to run at a time. Default: one a core.")
ENGINES = click.Choice(list(catalog.engines()))
TIMEOUT = click.option(
    "--timeout", type=click.FloatRange(min=1), default=60, show_default=True, help="Stop a probe after so many seconds."
)


def engine(default: str) -> Callable[[Command], Command]:
    """The option that chooses engines, with a word on what is taken without it."""
    text = f"Wrap the model in this engine. Default: {default}. Repeatable."
    return click.option("--engine", "engines", type=ENGINES, multiple=True, help=text)


def target_options(command: Command) -> Command:
    """The options that say which environment is meant."""
    with_deps = click.option(
        "--with-deps", is_flag=True, help="Install the dependencies of trainers named by --with as well."
    )
    return _all(PYTHON, WITH, with_deps)(command)


def matrix_options(command: Command) -> Command:
    """The options that matrix and bisect share."""
    jobs = click.option(
        "--jobs", type=click.IntRange(min=1), help="Environments at a time. Default: as many as cores and memory bear."
    )
    store = click.option(
        "--store", metavar="FILE", help="Where results are kept. Default: a file in the user's cache, for all runs."
    )
    refresh = click.option("--refresh", is_flag=True, help="Run again what is known from an earlier run.")
    return _all(PYTHON, WITH, MODEL, CHECKPOINT_FN, engine("none"), TIMEOUT, jobs, store, refresh)(command)


def format_options(*names: str) -> Callable[[Command], Command]:
    """The options that say what is printed, and where; the first format is the usual one."""
    format_ = click.option(
        "--format", "format_", type=click.Choice(names), default=names[0], show_default=True, help="How."
    )
    return _all(format_, click.option("-o", "--output", metavar="FILE", help="Write it to a file."))


class Wanted(NamedTuple):
    """A format, and the file that it goes to; empty for standard output."""

    format: str
    file: str


if TYPE_CHECKING:
    _WantedType = click.ParamType["Wanted"]
else:
    _WantedType = click.ParamType  # not generic in every release of click


class _Format(_WantedType):
    """``NAME`` or ``NAME=FILE``."""

    name = "format"

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Wanted:
        if isinstance(value, Wanted):
            return value
        name, equals, file = str(value).partition("=")
        if name not in self._names:
            self.fail(f"'{name}' is not one of {', '.join(self._names)}.", param, ctx)
        if equals and not file:
            self.fail(f"'{value}' names no file.", param, ctx)
        return Wanted(name, file)


def several_formats(*names: str) -> Callable[[Command], Command]:
    """The options that say what is printed and what is written to files; the first format is the usual one."""
    text = (
        f"One of {', '.join(names)}. Repeatable: NAME=FILE writes a file, a plain NAME goes to stdout. "
        f"Default: {names[0]}."
    )
    format_ = click.option("--format", "formats", type=_Format(names), multiple=True, metavar="NAME[=FILE]", help=text)
    output = click.option("-o", "--output", metavar="FILE", help="Write to a file what would be printed.")
    return _all(format_, output)


def destinations(formats: Sequence[Wanted], output: str | None, usual: str) -> list[Wanted]:
    """Which format goes where.

    Raises:
        UsageFault: Two would be printed, two share a file, or one cannot be written.
    """
    wanted = list(formats) or [Wanted(usual, "")]
    printed = [one for one in wanted if not one.file]
    if len(printed) > 1:
        names = " and ".join(one.format for one in printed)
        raise UsageFault(
            f"{names} cannot both be printed.", f"give one of them a file: --format {names.split()[0]}=FILE"
        )
    if output and not printed:
        raise UsageFault("--output has nothing to write: each --format has a file.", "leave out --output")
    wanted = [one if one.file or not output else Wanted(one.format, output) for one in wanted]
    files = [str(Path(one.file).absolute()) for one in wanted if one.file]
    for file in files:
        if files.count(file) > 1:
            raise UsageFault(f"{file} would be written twice.", "give each --format a file of its own")
    for one in wanted:
        writing.require_writable(one.file or None)
    return wanted


def _all(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def write(text: str, output: str | None) -> None:
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
    """A line on standard error that says what is going on; without a terminal only of what takes longer than a minute."""
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        with _patience() as told:
            yield told
        return
    from rich.console import Console

    from ckptdoctor.words.escape import one_line

    console = Console(stderr=True)
    with console.status("starting", spinner="line") as status:
        yield lambda text: status.update(one_line(text, 60).replace("[", "\\["))


LONG = 60.0
"""Seconds after which a step is mentioned, and again after twice as many."""


@contextmanager
def _patience() -> Iterator[Callable[[str], None]]:
    """Mentions a step that takes long, for logs: a silent minute looks like a hang."""
    from ckptdoctor.words.escape import one_line

    step, since, due = "", time.monotonic(), LONG
    over = threading.Event()

    def tell(text: str) -> None:
        nonlocal step, since, due
        if text.partition(",")[0] != step.partition(",")[0]:
            since, due = time.monotonic(), LONG
        step = text

    def watch() -> None:
        nonlocal due
        while not over.wait(LONG / 60):
            seconds = time.monotonic() - since
            if step and seconds >= due:
                due *= 2
                click.echo(one_line(f"still {step} ({seconds:.0f} s)", 300), err=True)

    thread = threading.Thread(target=watch, daemon=True)
    with suppress(RuntimeError):  # where no more threads can be started, nothing is mentioned
        thread.start()
    try:
        yield tell
    finally:
        over.set()
        if thread.ident:
            thread.join()
