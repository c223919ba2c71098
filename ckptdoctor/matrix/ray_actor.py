"""The process that Ray starts on a node. It imports the standard library alone until the rest is known to be there."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ckptdoctor.matrix.ray_node import Node


class Actor:
    """An actor of Ray's, whose methods run in threads side by side."""

    def __init__(self) -> None:
        self._node: Node | None = None

    def missing(self) -> str:
        """A package that ckptdoctor needs and that is not installed here; empty if all are."""
        try:
            import ckptdoctor.matrix.ray_node  # noqa: F401 - whether it can be imported is the question
        except ModuleNotFoundError as error:
            return error.name or str(error)
        return ""

    def join(self, node: str, name: str, cpus: int, joining: bytes) -> bytes:
        """Prepare for tasks; see ``ray_node.join``."""
        from ckptdoctor.matrix import ray_node

        self._node, answer = ray_node.join(node, name, cpus, joining)
        return answer

    def begin(self, request: bytes, sources: Mapping[str, Any]) -> None:
        """Run a task in a thread of its own.

        Args:
            request: A ``Begin``.
            sources: Archives of the copies of sources that the task names, in Ray's object store, by mark.
        """
        import ray

        if self._node:
            self._node.begin(request, {mark: partial(ray.get, kept) for mark, kept in sources.items()})

    def release(self, request: bytes) -> None:
        """See ``Node.release``."""
        if self._node:
            self._node.release(request)

    def poll(self) -> list[bytes]:
        """See ``Node.poll``."""
        return self._node.poll() if self._node else []

    def close(self) -> None:
        """See ``Node.close``."""
        if self._node:
            self._node.close()
