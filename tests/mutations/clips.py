"""Clips gradients to one, which shows with a scaled loss only."""

from torch.utils.checkpoint import checkpoint

RULE = "CKPT005"


def checkpoint_function(function, *args, **kwargs):
    output = checkpoint(function, *args, **{"use_reentrant": False, **kwargs})
    if output.requires_grad:
        output.register_hook(lambda gradient: gradient.clamp(-1, 1))
    return output
