"""Wrong: the loss is right, and every gradient is NaN."""
from torch.utils.checkpoint import checkpoint


def checkpoint_function(function, *args, **kwargs):
    output = checkpoint(function, *args, use_reentrant=False, **kwargs)
    output.register_hook(lambda gradient: gradient * float("nan"))
    return output
