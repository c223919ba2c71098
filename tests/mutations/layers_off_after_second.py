"""Checkpoints the first two layers of each step only."""

from torch.utils.checkpoint import checkpoint

RULE = "CKPT002"


calls = 0


def checkpoint_function(function, *args, **kwargs):
    global calls
    calls += 1
    if calls % 5 in (1, 2):
        return checkpoint(function, *args, **{"use_reentrant": False, **kwargs})
    return function(*args)
