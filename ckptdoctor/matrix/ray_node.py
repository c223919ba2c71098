"""A node of a cluster: its target, the environments that it makes once, and the tasks that it runs."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import msgspec

from ckptdoctor import results
from ckptdoctor.environment.session import Session
from ckptdoctor.errors import DoctorError, Interrupted, UsageFault
from ckptdoctor.matrix import machine, ray_sources, ray_target
from ckptdoctor.matrix.environments import Environments
from ckptdoctor.matrix.executor import Ended, Event, at_once, perform
from ckptdoctor.matrix.ray_messages import Begin, Failed, Happened, Joined, Joining, Release, Unfit
from ckptdoctor.model.encoding import encode
from ckptdoctor.store import cache_eviction, locations

POLL = 2.0
"""Seconds after which a question for events is answered even if there are none."""

NOTHING = b""
"""Put among the answers to end a question for events at once."""

SAME = (*results.VARIABLES, "OMP_", "MKL_", "OPENBLAS_")
"""Environment variables, by how their names begin, that are on a node as on the machine where the command was started. Ray
sets some of them for its processes."""

ALSO = ("PIP_", "UV_", "CKPTDOCTOR_CACHE")
"""Variables that a node gets unless it has values of its own for them."""

SECRET = ("TOKEN", "SECRET", "PASSWORD", "CREDENTIAL", "API_KEY")
"""Parts of names of variables that are not sent to other machines: no probe asks a server."""


def variables() -> dict[str, str]:
    """What of this process's environment the nodes get."""
    return {
        name: value
        for name, value in os.environ.items()
        if name.startswith((*SAME, *ALSO)) and not any(part in name for part in SECRET)
    }


def _adopt(theirs: Mapping[str, str]) -> None:
    for name in [name for name in os.environ if name.startswith(SAME) and name not in theirs]:
        if not any(part in name for part in SECRET):
            del os.environ[name]
    for name, value in theirs.items():
        if name.startswith(SAME) or name not in os.environ:
            os.environ[name] = value


def join(node: str, name: str, cpus: int, request: bytes) -> tuple[Node | None, bytes]:
    """Prepare this machine for tasks.

    Args:
        node: The node's id in Ray.
        name: Its address, for people.
        cpus: CPUs that Ray has reserved for it.
        request: A ``Joining``.

    Returns:
        The node, unless it cannot take part, and the answer: ``Joined`` or ``Unfit``.
    """
    joining = msgspec.json.decode(request, type=Joining)
    try:
        made = _joined(node, cpus, joining)
    except DoctorError as error:
        return None, encode(Unfit(node, name, error.message.rstrip(".")))
    if isinstance(made, str):
        return None, encode(Unfit(node, name, made))
    return made, encode(Joined(node, name, made.slots))


def _joined(node: str, cpus: int, joining: Joining) -> Node | str:
    """The node; or in what it differs."""
    _adopt(joining.variables)
    with suppress(OSError):  # files of the user's own that it lacks are told apart by their contents
        os.chdir(joining.folder)
    cache = locations.cache()
    python = ray_target.find(Path(joining.python), joining.target, cache)
    with Session(python, None, 1, cache) as session:
        target = session.look()
    if difference := machine.difference(joining.machine, machine.of(target, joining.options)):
        return difference
    return Node(node, Environments(python, target, cache), joining.jobs or min(at_once(), cpus + 1))


class Node:
    """Runs tasks on this machine. Its methods may be called from several threads."""

    def __init__(self, node: str, environments: Environments, slots: int) -> None:
        """Start nothing yet.

        Args:
            node: Its id.
            environments: Makes what tasks run in.
            slots: Tasks at a time.
        """
        self.slots = slots
        self._node, self._environments = node, environments
        self._stop = threading.Event()
        # Its threads outlive the fork servers that are started in them, as these need it.
        self._pool = ThreadPoolExecutor(slots, "ckptdoctor")
        self._answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def begin(self, request: bytes, archives: Mapping[str, Callable[[], bytes]]) -> None:
        """Run a task in a thread.

        Args:
            request: A ``Begin``.
            archives: What fetches the archive of a source's copy, by its mark.
        """
        self._pool.submit(self._perform, msgspec.json.decode(request, type=Begin), archives)

    def release(self, request: bytes) -> None:
        """Let the fork server of a Python go that no task needs any more."""
        self._environments.release(msgspec.json.decode(request, type=Release).base)

    def poll(self) -> list[bytes]:
        """What has happened since the last time, as ``Happened`` and ``Failed``; waits for something for a short while."""
        found = []
        with suppress(queue.Empty):
            found.append(self._answers.get(timeout=POLL))
            while True:
                found.append(self._answers.get_nowait())
        return [answer for answer in found if answer]

    def close(self) -> None:
        """End what is still running, and leave nothing behind."""
        self._stop.set()
        self._answers.put(NOTHING)
        self._environments.close()
        self._pool.shutdown(cancel_futures=True)
        cache_eviction.keep_within_limit(self._environments.cache, lambda _: None)

    def _perform(self, begin: Begin, archives: Mapping[str, Callable[[], bytes]]) -> None:
        def tell(event: Event) -> None:
            self._answers.put(encode(Happened(self._node, begin.number, event)))

        try:
            for content, fetch in archives.items():
                ray_sources.take(self._environments.cache, content, fetch)
            perform(begin.task, self._environments, begin.at_once, self._stop, tell)
            tell(Ended(begin.task.base))
        except Interrupted:
            pass
        except DoctorError as error:
            self._answers.put(encode(Failed(error.message, error.hint, isinstance(error, UsageFault))))
        except BaseException as error:
            self._answers.put(encode(Failed(f"A node failed: {type(error).__name__}: {error}.", "")))
