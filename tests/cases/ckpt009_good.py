"""Right: scales what the layer returns by one."""
from torch.utils.checkpoint import checkpoint


def checkpoint_function(function, *args, **kwargs):
    return 1.0 * checkpoint(function, *args, use_reentrant=False, **kwargs) + 0.0
