"""Runs tasks on the nodes of a Ray cluster: which task goes to which node, and again to another if that one is gone."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ckptdoctor.errors import TargetError, UnobtainableError, UsageFault
from ckptdoctor.matrix import machine, ray_node, ray_sources
from ckptdoctor.matrix.combination import Base
from ckptdoctor.matrix.environments import Environments
from ckptdoctor.matrix.executor import PAUSE, Claim, Doing, Ended, Event, Refused, Task, over, python_of
from ckptdoctor.matrix.ray_connection import AGAIN, Connection
from ckptdoctor.matrix.ray_messages import (
    Answer,
    Begin,
    Connect,
    Failed,
    Happened,
    Joined,
    Joining,
    Lost,
    Release,
    Seen,
    Unfit,
)
from ckptdoctor.matrix.request import MatrixRequest

TRIES = 3
"""Nodes on which a task is begun; one that ends each node's process is not begun again."""

CONNECTING = 60.0
"""Seconds that the cluster has to answer."""

JOINING = 10.0
"""Seconds after the first node has joined in which tasks are kept for others that are about to."""

PATIENCE = 60.0
"""Seconds without any node after which a run ends."""


class RayExecutor:
    """Runs tasks on the nodes of a Ray cluster that are like this machine."""

    def __init__(self, connection: Connection, located: Callable[[str], str] = lambda requirement: requirement) -> None:
        """Wait for nothing yet.

        Args:
            connection: To the cluster; it is closed with the executor.
            located: Copies the source of a requirement's release into this machine's cache, if it has one.
        """
        self._connection, self._located = connection, located
        self._nodes: dict[str, Joined] = {}
        self._first_joined = float("inf")
        self._unfit: dict[str, Unfit] = {}
        self._running: dict[int, tuple[str, Task]] = {}
        """The node and the task of each number."""
        self._begun = 0
        self._seen: int | None = None
        """Nodes that take part or may yet, as last told; none while the cluster has not answered."""
        self._deadline = time.monotonic() + CONNECTING

    def run(self, tasks: Sequence[Task], claim: Claim) -> Iterator[Event]:
        """Run all tasks; see ``Executor``.

        Raises:
            UsageFault: The request makes no sense.
            TargetError: The cluster is gone, or has no node that is like this machine.
        """
        waiting = sorted(tasks, key=lambda task: task.base)
        left = Counter(python_of(task.base) for task in tasks)
        lost = Counter[Base]()
        while left.total():
            for event in self._hand_out(waiting, claim):
                self._count(event, left)
                yield event
            if not self._running and waiting:
                yield Doing(waiting[0].base, self._waits_for(waiting[0]))
            answer = self._hear(PAUSE)
            if isinstance(answer, Happened) and answer.number in self._running:
                if isinstance(answer.event, Ended):
                    del self._running[answer.number]
                    self._count(answer.event, left)
                yield answer.event
            elif isinstance(answer, Lost):
                for task in self._lose(answer.node):
                    lost[task.base] += 1
                    if lost[task.base] < TRIES:
                        waiting.insert(0, task)
                        continue
                    self._count(ended := Ended(task.base), left)
                    yield ended

    def notes(self) -> list[str]:
        """Which nodes took no part, and why."""
        by_reason: dict[str, list[str]] = {}
        for one in self._unfit.values():
            by_reason.setdefault(one.why, []).append(one.name)
        return [f"Not used: {_nodes(names)}: {why}." for why, names in by_reason.items()]

    def close(self) -> None:
        """End what is still running on the nodes, and leave nothing behind."""
        self._connection.close()

    # -- scheduling ---------------------------------------------------------------------------------------------------

    def _hand_out(self, waiting: list[Task], claim: Claim) -> Iterator[Event]:
        """Begin tasks where there is room; those of which nothing is left, or can be had, end at once."""
        at = 0
        is_early = time.monotonic() < self._first_joined + JOINING
        nodes = max(self._seen or 1, len(self._nodes)) if is_early else max(1, len(self._nodes))
        share = -(-(len(waiting) + len(self._running)) // nodes)
        while at < len(waiting) and (node := self._roomiest(share)):
            if (task := claim(waiting[at])) is None:
                at += 1
                continue
            del waiting[at]
            if not task.combinations:
                yield Ended(task.base)
                continue
            try:
                for requirement in ray_sources.requirements(task):
                    self._located(requirement)
            except TargetError as error:
                yield Refused(task.base, "", error.message, isinstance(error, UnobtainableError))
                yield Ended(task.base)
                continue
            self._begun += 1
            self._running[self._begun] = node.node, task
            self._connection.ask(Begin(node.node, self._begun, task, max(1, node.slots // min(node.slots, share))))

    def _roomiest(self, share: int) -> Joined | None:
        """The node with the most room, if one has less than its share."""
        busy = Counter(node for node, _ in self._running.values())
        free = {name: min(node.slots, share) - busy[name] for name, node in self._nodes.items()}
        best = max(free, key=lambda name: free[name], default="")
        return self._nodes[best] if best and free[best] > 0 else None

    def _count(self, event: Event, left: Counter[tuple[str, str]]) -> None:
        if isinstance(event, Ended):
            left[python_of(event.base)] -= 1
            if not left[python_of(event.base)] and left.total():
                self._connection.ask(Release(event.base))

    def _lose(self, node: str) -> list[Task]:
        """The tasks of a node that is gone."""
        self._nodes.pop(node, None)
        numbers = [number for number, (where, _) in self._running.items() if where == node]
        return [self._running.pop(number)[1] for number in numbers]

    def _waits_for(self, task: Task) -> str:
        if self._nodes:
            return f"waiting for another run, which measures {over(task.base)}"
        return "waiting for nodes of the cluster"

    # -- the cluster --------------------------------------------------------------------------------------------------

    def _hear(self, timeout: float) -> Answer | None:
        """The next answer, if it comes in time.

        Raises:
            DoctorError: The run cannot go on.
        """
        answer = self._connection.hear(timeout)
        if isinstance(answer, Failed):
            raise (UsageFault if answer.is_usage else TargetError)(answer.message, answer.hint)
        if isinstance(answer, Joined):
            self._nodes[answer.node] = answer
            self._first_joined = min(self._first_joined, time.monotonic())
        elif isinstance(answer, Unfit):
            self._unfit[answer.node] = answer
        elif isinstance(answer, Seen):
            self._seen = answer.nodes
        self._require_hope()
        return answer

    def _require_hope(self) -> None:
        """End a run for which no node will come."""
        if self._seen or self._nodes:
            self._deadline = time.monotonic() + PATIENCE
        elif self._seen == 0 and self._unfit and not self._begun:
            one = next(iter(self._unfit.values()))
            raise TargetError(
                f"No node of the Ray cluster can be used in place of this machine: {one.name}: {one.why}.",
                "start ckptdoctor on a node of the cluster, with a target that all nodes have",
            )
        elif self._seen == 0 and not self._begun:
            raise TargetError("The Ray cluster has no node with CPUs.", "see `ray status`")
        elif time.monotonic() > self._deadline:
            if self._begun:
                raise TargetError("No node of the Ray cluster is left.", AGAIN)
            raise TargetError("The Ray cluster does not answer.", "check the address, and `ray status` on this machine")


def connected(request: MatrixRequest, environments: Environments) -> RayExecutor:
    """An executor for the cluster of a request.

    Args:
        request: What is judged, and where.
        environments: What this machine would run it in.

    Raises:
        UsageFault: Ray is not installed, or nothing answers at the address.
    """
    target = environments.facts
    here = machine.of(target, request.options)
    folder, variables = str(Path.cwd()), ray_node.variables()
    joining = Joining(str(environments.target), target, here, request.options, folder, variables, request.jobs)
    address = request.cluster or os.environ.get("RAY_ADDRESS") or "auto"
    return RayExecutor(Connection(Connect(address, joining, str(environments.cache))), environments.located)


def _nodes(names: Sequence[str]) -> str:
    counted = [f"{name} ({count} nodes)" if count > 1 else name for name, count in Counter(names).items()]
    return f"node{'s' if len(names) > 1 else ''} {', '.join(counted)}"
