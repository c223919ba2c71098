"""Cannot be called without use_reentrant."""

from torch.utils.checkpoint import checkpoint

RULE = "CKPT010"


def checkpoint_function(function, *args, use_reentrant, **kwargs):
    return checkpoint(function, *args, use_reentrant=use_reentrant, **kwargs)
