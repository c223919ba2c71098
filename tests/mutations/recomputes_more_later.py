"""Wraps the callable once more at every call after the tenth."""

from torch.utils.checkpoint import checkpoint

RULE = "CKPT003"


calls = 0


def checkpoint_function(function, *args, **kwargs):
    global calls
    calls += 1
    if calls > 10:
        return checkpoint(checkpoint, function, *args, use_reentrant=True)
    return checkpoint(function, *args, **{"use_reentrant": False, **kwargs})
