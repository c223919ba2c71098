"""Checkpoints each layer at its first call, and never again."""

from torch.utils.checkpoint import checkpoint

RULE = "CKPT002"


seen = set()


def checkpoint_function(function, *args, **kwargs):
    layer = getattr(function, "__self__", None) or function.func.__self__
    if layer in seen:
        return function(*args)
    seen.add(layer)
    return checkpoint(function, *args, **{"use_reentrant": False, **kwargs})
