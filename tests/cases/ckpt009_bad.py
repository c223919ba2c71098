"""Wrong: scales what the layer returns."""
from torch.utils.checkpoint import checkpoint


def checkpoint_function(function, *args, **kwargs):
    return 1.5 * checkpoint(function, *args, use_reentrant=False, **kwargs) + 0.1
