"""Right: scales the gradient up and down again, which leaves it as it was."""
from torch.utils.checkpoint import checkpoint


def checkpoint_function(function, *args, **kwargs):
    output = checkpoint(function, *args, use_reentrant=False, **kwargs)
    if output.requires_grad:
        output.register_hook(lambda gradient: 2 * gradient)
        output.register_hook(lambda gradient: gradient / 2)
    return output
