"""Runs out of a budget after some calls."""

from torch.utils.checkpoint import checkpoint

RULE = "CKPT010"


calls = 0


def checkpoint_function(function, *args, **kwargs):
    global calls
    calls += 1
    if calls > 25:
        raise RuntimeError("no more slots")
    return checkpoint(function, *args, **{"use_reentrant": False, **kwargs})
