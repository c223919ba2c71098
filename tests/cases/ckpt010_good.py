"""Right: something raises on the way, and it sees to that."""
from torch.utils.checkpoint import checkpoint


def checkpoint_function(function, *args, **kwargs):
    try:
        raise ValueError("no checkpointing today")
    except ValueError:
        return checkpoint(function, *args, use_reentrant=False, **kwargs)
