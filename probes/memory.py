"""How much memory is in use, whoever keeps it: autograd, a list, a context, or a simulated GPU."""

from __future__ import annotations

import ctypes
import functools
from typing import Any

import torch

FIELDS = (
    "arena",
    "ordblks",
    "smblks",
    "hblks",
    "hblkhd",
    "usmblks",
    "fsmblks",
    "uordblks",
    "fordblks",
    "keepcost",
)


class _Allocated(ctypes.Structure):
    """``struct mallinfo2`` of the GNU C library."""

    _fields_ = [(name, ctypes.c_size_t) for name in FIELDS]


def in_use() -> int | None:
    """Bytes allocated on the host and on the GPU; nothing where the C library does not tell (macOS, musl)."""
    look = _look()
    if look is None:
        return None
    found = look()
    on_device = torch.cuda.memory_allocated() if torch.cuda.is_initialized() else 0
    return int(found.uordblks + found.hblkhd + on_device)


@functools.lru_cache(maxsize=1)
def _look() -> Any:
    look = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if look is not None:
        look.restype = _Allocated
    return look
