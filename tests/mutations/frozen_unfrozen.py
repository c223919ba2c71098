"""Sets every parameter of the layer to be trained."""

from torch.utils.checkpoint import checkpoint

RULE = "CKPT012"


def checkpoint_function(function, *args, **kwargs):
    layer = getattr(function, "__self__", None) or function.func.__self__
    layer.requires_grad_(True)
    return checkpoint(function, *args, **{"use_reentrant": False, **kwargs})
