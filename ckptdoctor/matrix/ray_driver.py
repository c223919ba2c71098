"""The process that talks to a Ray cluster: ``python -m ckptdoctor.matrix.ray_driver``.

Ray prints to the standard streams, and ends its process when the cluster goes away. So it gets one of its own, which reads
requests from standard input and writes answers to standard output, one JSON object a line. It ends when its input does, also
because the process at the other end was killed, and its nodes with it.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import IO, Any

import msgspec
import ray
from packaging.requirements import Requirement
from ray.exceptions import GetTimeoutError, RayError, RayTaskError, RuntimeEnvSetupError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ckptdoctor.matrix import ray_errors, ray_sources
from ckptdoctor.matrix.ray_actor import Actor
from ckptdoctor.matrix.ray_messages import CODE, Answer, Begin, Connect, Joined, Lost, Release, Request, Seen, Unfit
from ckptdoctor.model.encoding import encode

LOOK = 2.0
"""Seconds after which the cluster's nodes are looked at again."""

CLOSING = 5.0
"""Seconds that the nodes have for clearing up."""


class Driver:
    """Has the nodes of a cluster join, passes tasks on to them and their events back."""

    def __init__(self, connect: Connect, answers: IO[bytes]) -> None:
        """Connect to the cluster.

        Raises:
            Exception: As Ray says.
        """
        self._joining = connect.joining
        self._request, self._cache = encode(connect.joining), Path(connect.cache)
        self._answers, self._writing = answers, threading.Lock()
        self._actors: dict[str, Any] = {}
        """Nodes that take part or may yet, by id."""
        self._rejected: set[str] = set()
        self._awaited: dict[Any, tuple[str, str]] = {}
        """What is waited for: a node and the method that was called there."""
        self._names: dict[str, str] = {}
        self._cpus: dict[str, int] = {}
        self._archives: dict[str, Any] = {}
        self._closing: list[Any] = []
        self._is_over = threading.Event()
        ray.init(
            address=connect.address,
            namespace="ckptdoctor",
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={"py_modules": [str(Path(CODE).absolute())]},
        )

    def run(self) -> None:
        """Go on until the input ends."""
        looked = 0.0
        while not self._is_over.is_set():
            if time.monotonic() - looked >= LOOK:
                self._look()
                looked = time.monotonic()
            if not self._awaited:
                time.sleep(0.1)
                continue
            ready, _ = ray.wait(list(self._awaited), num_returns=1, timeout=LOOK)
            for one in ready:
                self._take(one, *self._awaited.pop(one))

    def do(self, request: Request) -> None:
        """Carry out what was asked for, without waiting for it."""
        if isinstance(request, Begin):
            if (actor := self._actors.get(request.node)) is not None:
                sources = {mark: self._archive(mark) for mark in ray_sources.marks(request.task)}
                actor.begin.remote(encode(request), sources)
        elif isinstance(request, Release):
            for actor in list(self._actors.values()):
                actor.release.remote(encode(request))

    def end(self) -> None:
        """End what is still running on the nodes, and let ``run`` return; from any thread."""
        if not self._is_over.is_set():
            self._is_over.set()
            self._closing = [actor.close.remote() for actor in list(self._actors.values())]

    def close(self) -> None:
        """Wait for the nodes' end, and disconnect."""
        self.end()
        with suppress(RayError, GetTimeoutError):
            ray.wait(self._closing, num_returns=len(self._closing), timeout=CLOSING) if self._closing else None
        for actor in self._actors.values():
            with suppress(RayError):
                ray.kill(actor)
        ray.shutdown()

    def tell(self, *lines: bytes) -> None:
        """Write answers."""
        with self._writing:
            self._answers.writelines(line + b"\n" for line in lines)
            self._answers.flush()

    def _archive(self, mark: str) -> Any:
        if mark not in self._archives:
            self._archives[mark] = ray.put(ray_sources.archive(self._cache, mark))
        return self._archives[mark]

    def _look(self) -> None:
        """Open the nodes that are new, and give up those that are gone."""
        alive = {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}
        for node in self._actors.keys() - alive.keys():
            self._lose(node)
        for node, about in alive.items():
            cpus = int(about["Resources"].get("CPU", 0))
            if cpus and node not in self._actors and node not in self._rejected:
                self._names[node], self._cpus[node] = about["NodeName"], min(self._joining.jobs or cpus, cpus)
                self._open(node, {"num_gpus": int(about["Resources"].get("GPU", 0))})
        self.tell(encode(Seen(len(self._actors))))

    def _open(self, node: str, options: dict[str, Any]) -> None:
        strategy = NodeAffinitySchedulingStrategy(node, soft=False)
        placed = {"scheduling_strategy": strategy, "num_cpus": self._cpus[node], "max_concurrency": 8, **options}
        self._actors[node] = ray.remote(Actor).options(**placed).remote()
        self._await(node, "installing" if "runtime_env" in options else "missing", self._actors[node].missing.remote())

    def _await(self, node: str, what: str, answer: Any) -> None:
        self._awaited[answer] = (node, what)

    def _take(self, answer: Any, node: str, what: str) -> None:
        """Go on with a node, by what it answered."""
        try:
            found = ray.get(answer)
        except RuntimeEnvSetupError as error:
            said = str(error).strip().rpartition("\n")[2].rstrip(".")
            self._reject(node, f"ckptdoctor's packages are missing, and Ray cannot install them: {said}")
            return
        except RayTaskError as error:
            self._reject(node, str(error).strip().rpartition("\n")[2].rstrip("."))
            return
        except RayError:
            self._lose(node)
            return
        actor = self._actors[node]
        if what == "poll":
            self.tell(*found)
            self._await(node, "poll", actor.poll.remote())
        elif what == "join":
            self.tell(found)
            if isinstance(msgspec.json.decode(found, type=Answer), Joined):
                self._await(node, "poll", actor.poll.remote())
            else:
                self._reject(node)
        elif not found:
            request = (node, self._names[node], self._cpus[node], self._request)
            self._await(node, "join", actor.join.remote(*request))
        elif what == "missing":
            ray.kill(actor)
            self._open(node, {"runtime_env": {"pip": {"packages": _dependencies(), "pip_check": False}}})
        else:
            self._reject(node, f"{found} is missing, although Ray has installed what ckptdoctor requires")

    def _reject(self, node: str, why: str = "") -> None:
        """Leave a node out; without a reason, it has said why by itself."""
        self._rejected.add(node)
        actor = self._actors.pop(node)
        with suppress(RayError):
            ray.kill(actor)
        if why:
            self.tell(encode(Unfit(node, self._names[node], why)))
        self.tell(encode(Seen(len(self._actors))))

    def _lose(self, node: str) -> None:
        self._awaited = {answer: one for answer, one in self._awaited.items() if one[0] != node}
        with suppress(RayError):
            ray.kill(self._actors.pop(node))
        self.tell(encode(Lost(node)))


def _dependencies() -> list[str]:
    """What ckptdoctor requires, in the releases that are installed here."""
    required = map(Requirement, metadata.requires("ckptdoctor") or ())
    names = [one.name for one in required if one.marker is None or one.marker.evaluate({"extra": ""})]
    return [f"{name}=={metadata.version(name)}" for name in names]


def main() -> None:
    """Serve until the input ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what Ray prints goes to the log
    requests = sys.stdin.buffer
    connect = msgspec.json.decode(requests.readline(), type=Connect)
    try:
        driver = Driver(connect, answers)
    except Exception as error:
        answers.write(encode(ray_errors.failure(error)) + b"\n")
        answers.close()
        raise
    threading.Thread(target=_listen, args=(driver, requests), daemon=True).start()
    try:
        driver.run()
    except BrokenPipeError:  # nobody is there to read
        pass
    finally:
        driver.close()


def _listen(driver: Driver, requests: IO[bytes]) -> None:
    try:
        for line in requests:
            driver.do(msgspec.json.decode(line, type=Request))
    finally:
        driver.end()


if __name__ == "__main__":
    main()
