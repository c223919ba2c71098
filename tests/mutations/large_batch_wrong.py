"""Gradients of sequences beyond the fourth are lost."""

from torch.utils.checkpoint import checkpoint

RULE = "CKPT005"


def forget(gradient):
    gradient = gradient.clone()
    gradient[4:] = 0
    return gradient


def checkpoint_function(function, *args, **kwargs):
    output = checkpoint(function, *args, **{"use_reentrant": False, **kwargs})
    if output.requires_grad:
        output.register_hook(forget)
    return output
