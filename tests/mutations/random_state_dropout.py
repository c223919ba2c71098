"""Does not restore the random state: another dropout mask in recomputation."""

from torch.utils.checkpoint import checkpoint

RULE = "CKPT005"


def checkpoint_function(function, *args, use_reentrant=False, preserve_rng_state=False):
    return checkpoint(function, *args, use_reentrant=use_reentrant, preserve_rng_state=False)
