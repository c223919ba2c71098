"""Starts a command, follows what its processes report, and ends it if it was asked to."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ckptdoctor.model.progress import Progress
from ckptdoctor.model.report import Report, Severity
from ckptdoctor.observe import folder, judging
from ckptdoctor.observe.folder import ProcessReport
from ckptdoctor.observe.job import Job
from ckptdoctor.observe.starting import starting
from ckptdoctor.rules import NOT_DIAGNOSED

POLL = 0.1
"""Seconds between two looks at the command and the folder."""

GRACE = 15.0
"""Seconds that processes have to end after SIGTERM."""

StopOn = Literal["never", "error", "warning"]

_SEVERITIES: dict[StopOn, tuple[Severity, ...]] = {
    "never": (),
    "error": ("error",),
    "warning": ("error", "warning"),
}


@dataclass(frozen=True)
class Watching:
    """What to observe, and when to end the command.

    Attributes:
        steps: Steps of the optimizer that are observed.
        stop_on: Findings of this severity, or of a higher one, end the command.
        exit_after: Whether the command is ended once all steps are observed.
        label: What the command is called in the report; its arguments may hold secrets.
    """

    steps: int
    stop_on: StopOn = "never"
    exit_after: bool = False
    label: str = ""


@dataclass(frozen=True)
class Followed:
    """How a command ended, and the report on it.

    Attributes:
        report: What was observed.
        status: The command's own exit status, as shells have it.
        stopped: Why it was ended by us: ``finding`` or ``steps``; empty if it ended by itself.
    """

    report: Report
    status: int
    stopped: Literal["", "finding", "steps"] = ""

    def fires(self, stop_on: StopOn) -> bool:
        """Whether there is a finding that was to end the command; it may have ended by itself first."""
        return _fires(self.report, stop_on)


def _fires(report: Report, stop_on: StopOn) -> bool:
    return any(one.severity in _SEVERITIES[stop_on] and one.rule != NOT_DIAGNOSED for one in report.findings)


def follow(
    words: Sequence[str],
    environ: Mapping[str, str],
    evidence: Path,
    watching: Watching,
    tell: Callable[[Report], None],
    progress: Progress,
) -> Followed:
    """Run a command to its end, or until it is to be stopped.

    Args:
        words: The command.
        environ: Its environment, see ``hooked.environment``.
        evidence: Where its processes report.
        watching: What to observe, and when to end it.
        tell: Called once, with the report as soon as the verdict is known.
        progress: Told which steps of the optimizer all ranks have made, until the verdict is known.

    Raises:
        UsageFault: The command cannot be started.
    """
    with _started(words, environ) as process:
        follower = _Follower(evidence, watching, tell, progress)
        stopped: Literal["", "finding", "steps"] = ""
        while process.poll() is None:
            stopped = follower.look()
            if stopped:
                _end(process)
                break
            time.sleep(POLL)
        status = process.wait()
    status = status if status >= 0 else 128 - status
    report = follower.report("" if stopped else socket.gethostname(), status, stopped)
    follower.told_once(report)
    return Followed(report, status, stopped)


class _Follower:
    """Judges anew when a process has reported something."""

    def __init__(self, evidence: Path, watching: Watching, tell: Callable[[Report], None], progress: Progress) -> None:
        self._evidence, self._watching, self._tell, self._progress = evidence, watching, tell, progress
        progress.begins(watching.steps, "step")
        progress("waiting for the first step")
        self._steps = 0
        self._seen: tuple[tuple[str, int], ...] = ()
        self._told = False

    def look(self) -> Literal["", "finding", "steps"]:
        """Take in what is new; why the command is to be ended, if it is."""
        seen = folder.size(self._evidence)
        if seen == self._seen:
            return ""
        self._seen = seen
        processes = folder.read(self._evidence)
        self._count(processes)
        report = self._judged(processes)
        is_complete = self._is_complete(processes)
        if _fires(report, "error") or is_complete:
            self.told_once(report)
        if _fires(report, self._watching.stop_on):
            return "finding"
        return "steps" if is_complete and self._watching.exit_after else ""

    def report(self, over_on: str, status: int, stopped: str) -> Report:
        """The report on all that was reported, once the command has ended; for its arguments see ``job.Job``."""
        return self._judged(folder.read(self._evidence), over_on=over_on, status=status, stopped=stopped)

    def told_once(self, report: Report) -> None:
        """Tell the verdict, the first time."""
        if not self._told:
            self._told = True
            self._tell(report)

    def _judged(self, processes: list[ProcessReport], **ended: Any) -> Report:
        small = folder.read_small(self._evidence)
        watching = self._watching
        return judging.judge(Job(processes, watching.steps, watching.label, small, **ended))

    def _count(self, processes: Sequence[ProcessReport]) -> None:
        """Tell of the steps that all ranks have made."""
        made = {rank: 0 for one in processes for rank in range(one.world)}
        for one in processes:
            made[one.rank] = max(made[one.rank], len(one.steps))
        for _ in range(self._steps, steps := min(made.values(), default=0)):
            self._progress.done()
        self._steps = max(self._steps, steps)
        if steps:
            self._progress("waiting for the next step")

    def _is_complete(self, processes: Sequence[ProcessReport]) -> bool:
        """Whether all ranks have observed all steps, or will observe no more."""
        done = {one.rank for one in processes if one.ended}
        return bool(processes) and done >= set(range(max(one.world for one in processes)))


@contextmanager
def _started(words: Sequence[str], environ: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """The command as a process: signals to us reach it, and none ends us before it has ended."""
    process: list[subprocess.Popen[bytes]] = []

    def pass_on(number: int, frame: Any) -> None:
        # A terminal sends SIGINT to the command as well; twice would cut short how it ends.
        if process and number != signal.SIGINT:
            with suppress(ProcessLookupError):
                process[0].send_signal(number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
    before = {number: signal.signal(number, pass_on) for number in numbers}
    try:
        with starting(words[0]):
            process.append(subprocess.Popen(list(words), env=dict(environ)))
        yield process[0]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a command with all processes that it started: launchers do not always pass a signal on."""
    import psutil

    with suppress(psutil.NoSuchProcess):
        started = psutil.Process(process.pid)
        everyone = [*started.children(recursive=True), started]
        for one in everyone:
            with suppress(psutil.NoSuchProcess):
                one.terminate()
        _, alive = psutil.wait_procs(everyone, timeout=GRACE)
        for one in alive:
            with suppress(psutil.NoSuchProcess):
                one.kill()
