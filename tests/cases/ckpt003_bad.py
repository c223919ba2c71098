"""Wrong: checkpoints what it has checkpointed already."""
from torch.utils.checkpoint import checkpoint


def inner(function, *args):
    return checkpoint(function, *args, use_reentrant=True)


def checkpoint_function(function, *args, **kwargs):
    return checkpoint(inner, function, *args, use_reentrant=True)
