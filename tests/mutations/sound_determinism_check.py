"""With torch's own check of what is recomputed."""

from torch.utils.checkpoint import checkpoint

SOUND = True


def checkpoint_function(function, *args, use_reentrant=False, **kwargs):
    return checkpoint(function, *args, use_reentrant=False, determinism_check="default", debug=False, **kwargs)
