"""Wrong: passes each layer on to a checkpoint function that counts its calls, twice."""

from torch.utils.checkpoint import checkpoint


def checkpoint_function(function, *args, **kwargs):
    checkpoint(function, *args, use_reentrant=False, **kwargs)
    return checkpoint(function, *args, use_reentrant=False, **kwargs)
