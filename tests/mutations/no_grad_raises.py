"""Asks for the gradient of an output that has none, under no_grad."""

from torch.utils.checkpoint import checkpoint

RULE = "CKPT010"


def checkpoint_function(function, *args, **kwargs):
    output = checkpoint(function, *args, **{"use_reentrant": False, **kwargs})
    output.register_hook(lambda gradient: gradient)
    return output
