"""Wrong: where it cannot find the layer, it goes on without checkpointing and says nothing."""
from torch.utils.checkpoint import checkpoint


def checkpoint_function(function, *args, **kwargs):
    try:
        function.__self__.train()
    except AttributeError:
        return function(*args, **kwargs)
    return checkpoint(function, *args, use_reentrant=False, **kwargs)
