"""Checkpoints every second layer on purpose."""

from torch.utils.checkpoint import checkpoint

SOUND = True


calls = 0


def checkpoint_function(function, *args, **kwargs):
    global calls
    layer = getattr(function, "__self__", None) or function.func.__self__
    if layer not in order:
        order[layer] = len(order)
    if order[layer] % 2:
        return function(*args)
    return checkpoint(function, *args, **{"use_reentrant": False, **kwargs})


order = {}
