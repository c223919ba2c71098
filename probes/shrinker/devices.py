"""Which devices there are."""

from __future__ import annotations

import functools


@functools.cache
def on_cpu() -> bool:
    """Whether this process has no accelerator."""
    import torch

    if torch.cuda.is_available():
        return False
    accelerator = getattr(torch, "accelerator", None)
    if accelerator is not None:
        return not accelerator.is_available()
    return not any(
        getattr(getattr(torch, name, None), "is_available", lambda: False)() for name in ("xpu", "npu", "hpu")
    )
