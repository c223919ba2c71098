"""Wrong: takes it for granted that it is given a bound method."""
from torch.utils.checkpoint import checkpoint


def checkpoint_function(function, *args, **kwargs):
    layer = function.__self__
    layer.train(layer.training)
    return checkpoint(function, *args, use_reentrant=False, **kwargs)
