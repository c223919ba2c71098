"""Whether a checkpoint function asks for the autocast of a device that is not there: then nothing can be told of it here."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

OWN = os.path.join("torch", "utils", "checkpoint.py")
"""torch's checkpoint functions ask for every device that there may be."""


@contextmanager
def watching() -> Iterator[set[str]]:
    """Notes devices, not there, whose autocast is asked for or entered; ``torch.amp.custom_fwd`` does it, for one."""
    asked: set[str] = set()
    if torch.cuda.is_available():
        yield asked
        return
    is_enabled, enter = torch.is_autocast_enabled, torch.autocast.__init__

    def note(device: Any) -> None:
        if str(device).startswith("cuda") and not sys._getframe(2).f_code.co_filename.endswith(OWN):
            asked.add(str(device))

    def is_autocast_enabled(*args: Any) -> Any:
        note(args[0] if args else "cuda")
        return is_enabled(*args)

    def initialise(self: Any, device_type: Any = "cuda", *args: Any, **kwargs: Any) -> None:
        note(device_type)
        enter(self, device_type, *args, **kwargs)

    torch.is_autocast_enabled, torch.autocast.__init__ = is_autocast_enabled, initialise
    try:
        yield asked
    finally:
        torch.is_autocast_enabled, torch.autocast.__init__ = is_enabled, enter
