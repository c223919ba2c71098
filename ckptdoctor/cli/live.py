"""How a matrix goes on, for people who watch: a line or two on standard error, on a terminal only."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ckptdoctor.model.compatibility import Run
from ckptdoctor.words.escape import one_line

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from ckptdoctor.matrix.measuring import Observer

WIDTH = 60
"""Characters of what is going on."""


@contextmanager
def observer() -> Iterator[Observer]:
    """Something that shows what runs, what is done and how much time is left; or that says nothing."""
    from ckptdoctor.matrix.measuring import Silent

    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
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
