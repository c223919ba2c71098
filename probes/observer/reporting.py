"""The file in which a process tells what it observed; the doctor reads it while the job runs."""

from __future__ import annotations

import functools
import json
import os
import socket
import sys
from typing import Any

from .. import stack


class Reporting:
    """One process's file in the folder of evidence. It is replaced whole at each change."""

    def __init__(self, folder: str) -> None:
        self.owner = os.getpid()
        name = "".join(char if char.isalnum() else "-" for char in socket.gethostname())
        # Containers may have one name, and the same numbers for processes.
        self._file = os.path.join(folder, f"process-{name}-{self.owner}-{os.urandom(3).hex()}.json")
        self.told: dict[str, Any] = {
            "pid": self.owner,
            "host": socket.gethostname(),
            "executable": sys.executable,
            "rank": 0,
            "world": 1,
            "steps": [],
            "ended": "",
            "why": "",
        }

    @property
    def is_ours(self) -> bool:
        """Whether this is the process that began to observe, and no fork of it."""
        return os.getpid() == self.owner

    def write(self, **changes: Any) -> None:
        """Take in changes, and write the file; a folder that is gone is no error of the job's."""
        if not self.is_ours:
            return
        self.told.update(changes, **_place_in_job())
        temporary = f"{self._file}.{self.owner}.tmp"
        try:
            with open(temporary, "w", encoding="utf-8") as handle:
                handle.write(json.dumps(self.told, allow_nan=False))  # json.dump takes ten times as long
            os.replace(temporary, self._file)
        except OSError:
            return

    def add_environment(self) -> None:
        """What is installed; once on each machine is enough."""
        if self.is_ours and os.environ.get("LOCAL_RANK", "0") == "0" and "environment" not in self.told:
            self.told["environment"] = _environment()


@functools.cache
def _environment() -> dict[str, Any]:
    """What is installed; reading it takes as long as some steps, and several observers may follow each other in a process."""
    return stack.facts()[0]


def _place_in_job() -> dict[str, int]:
    """The rank and the number of ranks: as the process group has it, else as the launcher says."""
    distributed = getattr(sys.modules.get("torch"), "distributed", None)
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return {"rank": int(distributed.get_rank()), "world": int(distributed.get_world_size())}
    return {"rank": _number("RANK", 0), "world": _number("WORLD_SIZE", 1)}


def _number(variable: str, otherwise: int) -> int:
    text = os.environ.get(variable, "")
    return int(text) if text.isdigit() else otherwise
