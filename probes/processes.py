"""Processes that are forked from this one: whether a fork is safe, and how they end."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from typing import Any


def die_with_parent(is_on: bool = True) -> None:
    """Have the kernel kill this process when its parent ends (Linux), or switch that off."""
    _prctl(1, signal.SIGKILL if is_on else 0)


def adopt_orphans() -> None:
    """Become the parent of what descendants leave behind (Linux), to be able to end it."""
    _prctl(36, 1)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def can_fork() -> bool:
    """Whether children may be forked from this process: not on macOS, and not once anything has woken CUDA in it."""
    if sys.platform == "darwin":
        return False
    torch = sys.modules.get("torch")
    return torch is None or not torch.cuda.is_available() or _child_reaches_cuda(torch)


def _child_reaches_cuda(torch: Any) -> bool:
    """Whether a forked child can use the GPU; a library that asked CUDA for anything while it was imported spoils that."""
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)
        try:
            torch.zeros(1, device="cuda")
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1] == 0


def end_orphans() -> None:
    """Kill what probes left running outside their process groups; this process has adopted it."""
    while True:
        children = _children()
        for pid in children:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        if not children:
            return


def _children() -> list[int]:
    try:
        with open(f"/proc/{os.getpid()}/task/{os.getpid()}/children") as handle:
            return [int(pid) for pid in handle.read().split()]
    except OSError:
        return []
