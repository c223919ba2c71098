"""Does not checkpoint where use_reentrant=True is given."""

from torch.utils.checkpoint import checkpoint

RULE = "CKPT002"


def checkpoint_function(function, *args, use_reentrant=False, **kwargs):
    if use_reentrant:
        return function(*args)
    return checkpoint(function, *args, use_reentrant=False, **kwargs)
