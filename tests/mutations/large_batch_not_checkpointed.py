"""Does not checkpoint large batches, which need it most."""

from torch.utils.checkpoint import checkpoint

RULE = "CKPT002"


def checkpoint_function(function, *args, **kwargs):
    if args[0].numel() > 8192:
        return function(*args)
    return checkpoint(function, *args, **{"use_reentrant": False, **kwargs})
