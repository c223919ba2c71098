"""Rounds gradients to fifteen bits."""

from torch.utils.checkpoint import checkpoint

RULE = "CKPT005"


def checkpoint_function(function, *args, **kwargs):
    output = checkpoint(function, *args, **{"use_reentrant": False, **kwargs})
    if output.requires_grad:
        output.register_hook(lambda gradient: (gradient * 2**18).round() / 2**18)
    return output
