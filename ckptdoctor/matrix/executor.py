"""Where tasks run: an interface, and its implementation for this machine; ``ray_executor`` has the one for a cluster.

Tasks and events are plain data, so they can be sent to another machine.
"""

from __future__ import annotations

import os
import queue
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TypeAlias

import msgspec

from ckptdoctor.environment import by_family
from ckptdoctor.environment.session import Session
from ckptdoctor.errors import Interrupted, TargetError, UnobtainableError
from ckptdoctor.matrix import questions
from ckptdoctor.matrix.combination import Base, Combination
from ckptdoctor.matrix.environments import Environments
from ckptdoctor.matrix.questions import Trainer
from ckptdoctor.model.evidence import Environment, Evidence, Spec
from ckptdoctor.model.workers import FULL_STACK, WITHOUT_DEEPSPEED, Worker
from ckptdoctor.planning.options import Options

MEMORY = 1.5e9
"""Bytes that a worker with its probes may take."""

PAUSE = 0.5
"""Seconds before checking again whether another run has finished with a base."""


class Task(msgspec.Struct, frozen=True):
    """All that is to be run in one base."""

    base: Base
    combinations: tuple[Combination, ...]
    options: Options
    done: tuple[str, ...] = ()
    """Ids of probes that need not run again."""


class Looked(msgspec.Struct, tag=True):
    """What is installed in a base."""

    base: Base
    facts: Environment


class TrainerAdded(msgspec.Struct, tag=True):
    """A trainer's release that was added to a base."""

    base: Base
    requirement: str
    trainer: Trainer


class Refused(msgspec.Struct, tag=True):
    """A base, or a trainer's release for it, cannot be installed."""

    base: Base
    requirement: str
    """A trainer's release; empty for the base itself."""
    why: str
    for_good: bool
    """Trying again would not help."""


class Probed(msgspec.Struct, tag=True):
    """What a probe observed."""

    base: Base
    evidence: Evidence


class Doing(msgspec.Struct, tag=True):
    """What is going on, for people."""

    base: Base
    text: str
    probes: int = 0
    """So many begin."""


class Ended(msgspec.Struct, tag=True):
    """Nothing more comes from a base."""

    base: Base


Event: TypeAlias = Looked | TrainerAdded | Refused | Probed | Doing | Ended


Claim: TypeAlias = Callable[[Task], Task | None]
"""Called before a task begins, in the thread that reads the events. Returns what is left of the task, which may be nothing,
or None while another run measures its base."""


class Executor(Protocol):
    """Runs tasks somewhere."""

    def run(self, tasks: Sequence[Task], claim: Claim) -> Iterator[Event]:
        """Run all tasks, in any order, each once it is claimed; their events as they come, ``Ended`` last for each."""

    def notes(self) -> list[str]:
        """What a reader of the results must know of where they come from."""

    def close(self) -> None:
        """End what is still running, and leave nothing behind."""


class Local:
    """Runs tasks on this machine, as many at once as its cores and memory allow."""

    def __init__(self, environments: Environments, jobs: int = 0) -> None:
        """Start nothing yet.

        Args:
            environments: Makes what tasks run in.
            jobs: Tasks at a time; 0 for as many as there are cores and memory for.
        """
        self._environments = environments
        self._jobs = jobs or at_once()
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(self._jobs, "ckptdoctor")

    def run(self, tasks: Sequence[Task], claim: Claim = lambda task: task) -> Iterator[Event]:
        """Run all tasks; see ``Executor``.

        Raises:
            UsageFault: The request makes no sense.
        """
        events: queue.SimpleQueue[Event | BaseException] = queue.SimpleQueue()
        # Tasks of one Python run one after another, so that few fork servers are alive at a time.
        waiting = sorted(tasks, key=lambda task: task.base)
        left = Counter(python_of(task.base) for task in tasks)
        at_once = max(1, self._jobs // max(1, min(self._jobs, len(tasks))))
        running = 0
        while left.total():
            while running < self._jobs and (task := _claimed(waiting, claim)):
                running += 1
                self._pool.submit(self._guarded, task, at_once, events)
            if not running:
                yield Doing(waiting[0].base, f"waiting for another run, which measures {over(waiting[0].base)}")
            try:
                event = events.get(timeout=PAUSE if waiting and running < self._jobs else None)
            except queue.Empty:
                continue
            if isinstance(event, BaseException):
                raise event
            if isinstance(event, Ended):
                running -= 1
                left[python_of(event.base)] -= 1
                if not left[python_of(event.base)] and left.total():
                    self._environments.release(event.base)
            yield event

    def notes(self) -> list[str]:
        """Nothing: all results are this machine's."""
        return []

    def close(self) -> None:
        """End what is still running, and leave nothing behind."""
        self._stop.set()
        self._environments.close()  # end the fork servers first, since tasks may wait for one
        self._pool.shutdown(cancel_futures=True)

    def _guarded(self, task: Task, at_once: int, events: queue.SimpleQueue[Event | BaseException]) -> None:
        try:
            if task.combinations and not self._stop.is_set():
                perform(task, self._environments, at_once, self._stop, events.put)
            events.put(Ended(task.base))
        except Interrupted:
            pass
        except BaseException as error:
            events.put(error)


def _claimed(waiting: list[Task], claim: Claim) -> Task | None:
    """The first task that can be claimed, taken off the list."""
    for at, task in enumerate(waiting):
        if (claimed := claim(task)) is not None:
            del waiting[at]
            return claimed
    return None


def perform(
    task: Task, environments: Environments, at_once: int, stop: threading.Event, tell: Callable[[Event], None]
) -> None:
    """Make the environment that a task needs, and run its probes.

    Args:
        task: What to run.
        environments: Makes what it runs in.
        at_once: Probes at a time.
        stop: Once set, the work ends with ``Interrupted``.
        tell: Called with each event as it comes.
    """
    base = task.base
    try:
        tell(Doing(base, f"preparing {over(base)}"))
        python, overlay = environments.python(base), environments.overlay(base)
        fork_server = environments.fork_server(base) if overlay else None
        if stop.is_set():
            raise Interrupted
        with Session(python, overlay, at_once, environments.cache, fork_server=fork_server, stop=stop) as session:
            facts = session.look()
            tell(Looked(base, facts))
            overlays, trainers = _add_trainers(task, environments, facts, stop, tell)
            wanted = _specs(task, facts, trainers)
            tell(Doing(base, f"with {over(base)}", len(wanted)))
            workers = {
                worker: [spec for spec, where in wanted.items() if where == worker]
                for worker in (WITHOUT_DEEPSPEED, FULL_STACK)
            }

            def each(evidence: Evidence) -> None:
                tell(Probed(base, evidence))

            if task.options.by_family:
                workers[WITHOUT_DEEPSPEED] = by_family.run(session, workers[WITHOUT_DEEPSPEED], each)
            session.examine(workers, added=overlays, each=each)
    except TargetError as error:
        tell(Refused(base, "", error.message, isinstance(error, UnobtainableError)))
    except OSError as error:  # most often a full disk, which may have room for later tasks
        tell(Refused(base, "", _said(error), for_good=False))


def _said(error: OSError) -> str:
    return f"{error.filename or 'The machine'}: {error.strerror or error}."


def _add_trainers(
    task: Task, environments: Environments, facts: Environment, stop: threading.Event, tell: Callable[[Event], None]
) -> tuple[dict[str, Path], dict[str, Trainer]]:
    overlays, trainers = {}, {}
    requirements = dict.fromkeys(combination.trainer_requirement for combination in task.combinations)
    for requirement in filter(None, requirements):
        if stop.is_set():
            raise Interrupted
        try:
            overlays[requirement] = environments.trainer(task.base, requirement)
            trainers[requirement] = questions.trainer_in(overlays[requirement], requirement, facts)
            tell(TrainerAdded(task.base, requirement, trainers[requirement]))
        except TargetError as error:
            tell(Refused(task.base, requirement, error.message, isinstance(error, UnobtainableError)))
        except OSError as error:
            tell(Refused(task.base, requirement, _said(error), for_good=False))
    return overlays, trainers


def _specs(task: Task, facts: Environment, trainers: dict[str, Trainer]) -> dict[Spec, Worker]:
    """What to run, each once, with its worker."""
    wanted: dict[Spec, Worker] = {}
    for combination in task.combinations:
        if combination.trainer_requirement and combination.trainer_requirement not in trainers:
            continue
        try:
            planned = questions.plan(combination, facts, trainers.get(combination.trainer_requirement), task.options)
        except TargetError:
            continue  # judging the combination raises the same error, which is its result
        wanted.update({one.spec: one.worker for one in planned.probes if one.spec.id not in task.done})
    return wanted


def over(base: Base) -> str:
    """A base, for people."""
    return ", ".join(base.requirements) or "the target"


def python_of(base: Base) -> tuple[str, str]:
    """The Python whose fork server a base needs: its version and its torch."""
    return base.python, base.torch


def at_once() -> int:
    """How many tasks to run at a time: one per core and one that waits for packages, if there is memory for them."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, min(cores + 1, int(min(_available(), 1e15) // MEMORY)))


def _available() -> float:
    """Bytes of memory that are available without swapping."""
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return 1024.0 * int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1])
    return float("inf")
