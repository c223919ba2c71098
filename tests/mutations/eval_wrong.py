"""Skips a layer in evaluation mode."""

from torch.utils.checkpoint import checkpoint

RULE = "CKPT005"


def checkpoint_function(function, *args, **kwargs):
    layer = getattr(function, "__self__", None) or function.func.__self__
    if not layer.training:
        return args[0] * 1.0
    return checkpoint(function, *args, **{"use_reentrant": False, **kwargs})
