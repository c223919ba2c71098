"""Right: finds the layer in whatever it is given, and does without where it finds none."""
import functools

from torch.utils.checkpoint import checkpoint


def checkpoint_function(function, *args, **kwargs):
    inner = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    layer = getattr(inner, "__self__", None)
    if layer is not None:
        layer.train()
    return checkpoint(function, *args, use_reentrant=False, **kwargs)
