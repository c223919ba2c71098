"""The two pipes to the doctor: requests come on one, events go on the other, one JSON object a line."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
from typing import Any

from . import isolate


class Channel:
    """Where events go, out of the reach of what prints."""

    def __init__(self, descriptor: int) -> None:
        self._pipe = os.fdopen(_moved(descriptor), "w", encoding="utf-8")
        isolate.PRIVATE.add(self._pipe.fileno())

    def send(self, event: str, **fields: Any) -> None:
        """Write one event; that the doctor is gone is noticed where requests come from, in time to clean up."""
        with contextlib.suppress(BrokenPipeError):
            self._pipe.write(json.dumps({"event": event, **fields}) + "\n")
            self._pipe.flush()


class Requests:
    """Lines of requests, without blocking while probes run."""

    def __init__(self, descriptor: int) -> None:
        self._pipe = _moved(descriptor)
        os.set_blocking(self._pipe, False)
        isolate.PRIVATE.add(self._pipe)
        self._rest = b""
        self._waiting: list[dict[str, Any]] = []
        self.closed = False

    def fileno(self) -> int:
        """For a selector."""
        return self._pipe

    def look(self) -> None:
        """Take in what has come, and notice the end of input."""
        try:
            while data := os.read(self._pipe, 65536):
                self._rest += data
            self.closed = True
        except BlockingIOError:
            pass
        *lines, self._rest = self._rest.split(b"\n")
        self._waiting += [json.loads(line) for line in lines if line.strip()]

    def wait(self) -> dict[str, Any] | None:
        """The next request, or nothing at the end of input."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._pipe, selectors.EVENT_READ)
            while not self._waiting and not self.closed:
                selector.select()
                self.look()
        return self._waiting.pop(0) if self._waiting else None


def _moved(descriptor: int) -> int:
    """A descriptor that no child inherits, in the place of one that came with the process."""
    moved = os.dup(descriptor)  # not inheritable, as all that Python opens
    os.close(descriptor)
    return moved
