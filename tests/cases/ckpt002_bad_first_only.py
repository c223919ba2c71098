"""Wrong: checkpoints the first layer of every step only."""
from torch.utils.checkpoint import checkpoint

first = True


def checkpoint_function(function, *args, **kwargs):
    global first
    if first:
        first = False
        return checkpoint(function, *args, use_reentrant=False, **kwargs)
    return function(*args, **kwargs)
