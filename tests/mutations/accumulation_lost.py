"""Throws away the gradients of earlier backward passes."""

from torch.utils.checkpoint import checkpoint

RULE = "CKPT005"


def checkpoint_function(function, *args, **kwargs):
    layer = getattr(function, "__self__", None) or function.func.__self__
    output = checkpoint(function, *args, **{"use_reentrant": False, **kwargs})

    def forget(gradient):
        for one in layer.parameters():
            one.grad = None

    if output.requires_grad:
        output.register_hook(forget)
    return output
