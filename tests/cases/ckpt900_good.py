"""Right: imports something that is not there, and does without."""
from torch.utils.checkpoint import checkpoint

try:
    from no_such_package import offload
except ImportError:
    offload = None


def checkpoint_function(function, *args, **kwargs):
    return checkpoint(function, *args, use_reentrant=False, **kwargs)
