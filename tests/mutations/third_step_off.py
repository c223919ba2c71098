"""Stops checkpointing after ten calls."""

from torch.utils.checkpoint import checkpoint

RULE = "CKPT002"


calls = 0


def checkpoint_function(function, *args, **kwargs):
    global calls
    calls += 1
    if calls > 10:
        return function(*args)
    return checkpoint(function, *args, **{"use_reentrant": False, **kwargs})
