"""Cannot be called with preserve_rng_state."""

from torch.utils.checkpoint import checkpoint

RULE = "CKPT010"


def checkpoint_function(function, *args, use_reentrant=False):
    return checkpoint(function, *args, use_reentrant=use_reentrant)
