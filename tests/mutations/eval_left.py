"""Recomputes in evaluation mode, and leaves the layer in it."""

from torch.utils.checkpoint import checkpoint

RULE = "CKPT012"


def checkpoint_function(function, *args, **kwargs):
    layer = getattr(function, "__self__", None) or function.func.__self__
    output = checkpoint(function, *args, **{"use_reentrant": False, **kwargs})
    layer.eval()
    return output
