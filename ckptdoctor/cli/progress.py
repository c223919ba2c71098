"""What is going on, for people who watch: one line on a terminal that is replaced, or a line now and then in a log."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any

import click

from ckptdoctor.model.progress import Progress
from ckptdoctor.store import durations
from ckptdoctor.words.escape import one_line, plain
from ckptdoctor.words.wording import counted

if TYPE_CHECKING:
    from rich.live import Live

    from ckptdoctor.matrix.request import MatrixRequest
    from ckptdoctor.planning.request import Request
    from ckptdoctor.store.durations import Durations

WIDEST = 100
"""Cells of the line on a wide terminal."""
NARROW = 60
"""Columns of a terminal with less room than words take."""
TICK = 0.1
"""Seconds between two looks at what has changed. What ends sooner shows nothing."""
FIRST = 20.0
"""Seconds after which a log gets its first line; the next one follows after twice as many, and so on."""
LONGEST = 300.0
"""Seconds between two lines of a log at most."""
OFF = "CKPTDOCTOR_NO_PROGRESS"
"""The variable with which nothing is shown: a line that changes every second is no help to a screen reader."""
COMBINATION = "combination"
"""Steps of which one is like another, so that the pace tells how long the rest takes."""
_CUT = "..."
_INTERRUPTED = "^C"
"""What a terminal writes behind the line: there must be room for it, or it begins another line."""


# -- what a run has told ----------------------------------------------------------------------------------------------


class Told(Progress):
    """What a run has told so far, and when."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start now.

        Args:
            clock: Tells the time in seconds.
        """
        self.last: Durations | None = None
        """How long the last run of the same took, once that is known."""
        self.times: list[float] = []
        """When steps ended, in seconds from the start."""
        self.total = 0
        """Steps of the present part."""
        self._clock, self._start = clock, clock()
        self._text, self._part, self._what, self._ended = "starting", "", "", 0
        self._verdicts: Counter[str] = Counter()
        self._is_paced = False

    def __call__(self, text: str) -> None:
        """See ``Progress``, as for the others."""
        self._text = text

    def part(self, text: str) -> None:  # noqa: D102 - see ``Progress``
        self._part, self._text, self.total, self._ended = text, "", 0, 0

    def begins(self, total: int, what: str) -> None:  # noqa: D102
        self.total, self._what = self.total + total, what
        self._is_paced |= what == COMBINATION

    def done(self, verdict: str = "") -> None:  # noqa: D102
        self._ended += 1
        self.times.append(self.seconds)
        self._verdicts.update([verdict] if verdict else ())

    @property
    def seconds(self) -> float:
        """Since the start."""
        return self._clock() - self._start

    def line(self, is_narrow: bool = False) -> str:
        """All of it in a line: how far it is, shorter where there is little room, then what is going on, which may be cut."""
        now = int(self.seconds)  # both times change at once, and once a second
        left = self._left(now)
        rest = f"{'' if is_narrow else 'about '}{in_words(left, coarse=True)} left" if left else ""
        head = ", ".join(filter(None, [self._count(is_narrow), in_words(now) if now else "", rest]))
        tail = ", ".join(filter(None, [self._part, self._text]))
        return one_line(": ".join(filter(None, [head, tail])))

    def _count(self, is_narrow: bool) -> str:
        if not self.total:
            return ""
        if is_narrow:
            return f"{self._ended}/{self.total}"
        verdicts = ", ".join(f"{count} {name}" for name, count in self._verdicts.items())
        return f"{self._ended} of {counted(self.total, self._what)}" + (f" ({verdicts})" if verdicts else "")

    def _left(self, now: float) -> float | None:
        """How long the rest takes; nothing where nothing tells that."""
        if not self._is_paced:
            return self.last.left(self.times, now) if self.last else None
        if self._what == COMBINATION:
            return durations.left_at_pace(self.times, self.total - self._ended, self.last)
        return None  # what follows combinations differs from run to run


def in_words(seconds: float, coarse: bool = False) -> str:
    """A time as people say it: ``12 s``, ``3 min 10 s``; ``coarse`` leaves the seconds of minutes out."""
    if seconds < 60:
        return f"{max(round(seconds), 1)} s" if seconds < 59.5 else "1 min"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes + (coarse and rest >= 30)} min" + (f" {rest} s" if rest and not coarse else "")
    return f"{minutes // 60} h" + (f" {minutes % 60} min" if minutes % 60 else "")


# -- what of it is shown ----------------------------------------------------------------------------------------------


@contextmanager
def reporter(
    name: str, run: Sequence[Any] = (), first: Callable[[], str] | None = None, between: bool = False
) -> Iterator[Progress]:
    """Shows how a run goes on: on a terminal in one line, in a log by a line now and then if it takes long.

    Args:
        name: The command.
        run: What is run, as far as it decides how long that takes; empty if the time is not to be kept.
        first: What is said first on a terminal, as soon as it is found out; what goes on does not wait for it.
        between: A job writes to the same terminal: no line is ever replaced.
    """
    told = Told()
    named = durations.key(name, run) if run else ""
    showing = _live(told, first) if _is_live() and not between else _now_and_then(told, name)
    with nullcontext(_nothing) if os.environ.get(OFF) else showing as show, _ticking(_with_last(told, named, show)):
        yield told
    if named and told.times:
        durations.keep(named, told.seconds, told.times)


def _nothing() -> None:
    """What shows nothing."""


def of_request(request: Request) -> list[Any]:
    """What decides how long a diagnosis takes."""
    more = (request.with_dependencies, request.at_once, request.find_remedies, request.verify)
    return [_python(request.python), list(request.requirements), request.options, list(request.job), *more]


def of_matrix(request: MatrixRequest) -> list[Any]:
    """What decides how long one combination takes."""
    return [_python(request.python), request.options, request.jobs, request.cluster]


def _python(named: str | None) -> str:
    from ckptdoctor.environment import interpreter
    from ckptdoctor.errors import DoctorError

    try:
        return str(interpreter.find(named, os.environ))
    except DoctorError:  # the run itself will say so
        return ""


def fresh_line() -> str:
    """What moves a terminal to an empty line, if something stands on this one: a job's bar, of which we know nothing.

    Blanks that fill a line fill up the last one, and are gone with the next text; behind other text they end on the next line.
    """
    return " " * shutil.get_terminal_size().columns + "\r" if _is_live() else ""


def _is_live() -> bool:
    """Whether a line can be shown and replaced."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def _with_last(told: Told, named: str, show: Callable[[], None]) -> Callable[[], None]:
    """The same, after a look at how long the last run took: what ends at once does not wait for that."""
    is_known = not named

    def tick() -> None:
        nonlocal is_known
        if not is_known:
            is_known, told.last = True, durations.load(named)
        show()

    return tick


@contextmanager
def _ticking(tick: Callable[[], None]) -> Iterator[None]:
    """Call something again and again, in a thread."""
    over = threading.Event()

    def run() -> None:
        while not over.wait(TICK):
            with suppress(Exception):  # a closed terminal: whatever goes wrong with showing, the run goes on
                tick()

    thread = threading.Thread(target=run, daemon=True)
    with suppress(RuntimeError):  # where no more threads can be started, nothing is shown
        thread.start()
    try:
        yield
    finally:
        over.set()
        if thread.ident:
            thread.join()


@contextmanager
def _now_and_then(told: Told, name: str) -> Iterator[Callable[[], None]]:
    """A line in a log after ever longer times: a silent minute looks like a hang, a hundred lines hide what matters."""
    due, pause = FIRST, FIRST

    def show() -> None:
        nonlocal due, pause
        if told.seconds >= due:
            pause = min(pause * 2, LONGEST)
            due = told.seconds + pause
            click.echo(f"{fresh_line()}ckptdoctor {name}: {told.line()}", err=True)

    yield show


@contextmanager
def _live(told: Told, first: Callable[[], str] | None) -> Iterator[Callable[[], None]]:
    """One line, drawn anew when it changes and erased at the end; the cursor stays as it is, however the run ends."""
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True)
    looked_up = _looked_up(first)
    with Live(console=console, auto_refresh=False, transient=True) as live:
        console.show_cursor(True)
        shown = ""

        def show() -> None:
            nonlocal shown
            for line in looked_up():
                console.print(one_line(line), markup=False, highlight=False)
            line = fitting(
                told.line(console.width < NARROW),
                min(console.width - len(_INTERRUPTED) - 1, WIDEST),
                console.encoding.startswith("utf"),
            )
            if line != shown:
                shown = line
                _draw(live, line)

        yield show


def _draw(live: Live, line: str) -> None:
    from rich.text import Text

    live.update(Text(line, no_wrap=True, overflow="crop"), refresh=True)


def fitting(line: str, width: int, is_unicode: bool = True) -> str:
    """A line, cut to the cells that there are: a Chinese character takes two of them."""
    from rich.cells import cell_len, set_cell_size

    line = plain(line, ascii_only=not is_unicode)
    if cell_len(line) <= width:
        return line
    return set_cell_size(line, max(width - len(_CUT), 0)).rstrip() + _CUT[: max(width, 0)]


def _looked_up(first: Callable[[], str] | None) -> Callable[[], Sequence[str]]:
    """Find something out in a thread. What is returned gives it once, when it is there; nothing if it cannot be found out."""
    found: list[str] = []
    if first is not None:

        def look_up() -> None:
            with suppress(Exception):
                found.append(first())

        with suppress(RuntimeError):
            threading.Thread(target=look_up, daemon=True).start()
    return lambda: [found.pop()] if found else ()
