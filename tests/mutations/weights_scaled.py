"""Changes the weights a little in backward."""

from torch.utils.checkpoint import checkpoint

RULE = "CKPT005"


def checkpoint_function(function, *args, **kwargs):
    layer = getattr(function, "__self__", None) or function.func.__self__
    output = checkpoint(function, *args, **{"use_reentrant": False, **kwargs})

    def shrink(gradient):
        for one in layer.parameters():
            one.data.mul_(1 - 1e-4)

    if output.requires_grad:
        output.register_hook(shrink)
    return output
