"""Wrong: takes it for granted that it is given a partial of a bound method."""
from torch.utils.checkpoint import checkpoint


def layer_of(function):
    return function.func.__self__


def checkpoint_function(function, *args, **kwargs):
    layer_of(function).train()
    return checkpoint(function, *args, use_reentrant=False, **kwargs)
