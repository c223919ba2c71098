"""Right: reads an attribute that may not be there, and catches what comes of it."""
from torch.utils.checkpoint import checkpoint


def checkpoint_function(function, *args, **kwargs):
    try:
        function.__self__.train()
    except AttributeError:
        pass
    return checkpoint(function, *args, use_reentrant=False, **kwargs)
