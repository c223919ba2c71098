"""What is going on, for people who watch: a line or two on standard error."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import click

from ckptdoctor.words.escape import one_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from ckptdoctor.matrix.measuring import Observer
    from ckptdoctor.model.compatibility import Run

WIDTH = 60
"""Characters of what is going on."""
LONG = 60.0
"""Seconds after which a step is mentioned, and again after twice as many."""


def _is_live() -> bool:
    """Whether a line can be shown and replaced."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


# -- a diagnosis ------------------------------------------------------------------------------------------------------


@contextmanager
def reporter(first: Callable[[], str] | None = None) -> Iterator[Callable[[str], None]]:
    """Says what is going on; without a terminal, only what takes longer than a minute.

    Args:
        first: What is said first on a terminal, as soon as it is found out; what goes on does not wait for it.
    """
    if not _is_live():
        with _patience() as told:
            yield told
        return
    from rich.console import Console

    console = Console(stderr=True)
    with console.status("starting", spinner="line") as status:
        if first is not None:
            threading.Thread(target=_say, args=(first, console), daemon=True).start()
        yield lambda text: status.update(one_line(text, WIDTH).replace("[", "\\["))


def _say(first: Callable[[], str], console: Console) -> None:
    """Print a line above what goes on; nothing if it cannot be found out."""
    with suppress(Exception):
        console.print(one_line(first()), markup=False, highlight=False)


@contextmanager
def _patience() -> Iterator[Callable[[str], None]]:
    """Mentions a step that takes long, for logs: a silent minute looks like a hang."""
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


# -- a matrix ---------------------------------------------------------------------------------------------------------


@contextmanager
def observer() -> Iterator[Observer]:
    """Something that shows what runs, what is done and how much time is left; or that says nothing."""
    from ckptdoctor.matrix.measuring import Silent

    if not _is_live():
        yield Silent()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

    columns = [
        SpinnerColumn("line"),
        BarColumn(20),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[verdicts]}"),
        TextColumn("{task.description}", markup=False),
    ]
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield _Live(progress, progress.add_task("starting", total=None, verdicts=""))


class _Live:
    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task
        self._total = 0
        self._verdicts = {"ok": 0, "fail": 0, "not judged": 0, "error": 0}

    def begins(self, total: int) -> None:
        self._total += total
        self._progress.update(self._task, total=self._total or None)

    def doing(self, text: str) -> None:
        self._progress.update(self._task, description=one_line(text, WIDTH))

    def done(self, run: Run) -> None:
        self._verdicts[run.verdict] += 1
        shown = " ".join(f"{count} {name}" for name, count in self._verdicts.items() if count)
        self._progress.update(self._task, advance=1, verdicts=shown)
