"""Makes gradients smaller by a fifty-thousandth in each layer."""

from torch.utils.checkpoint import checkpoint

RULE = "CKPT005"


def checkpoint_function(function, *args, **kwargs):
    output = checkpoint(function, *args, **{"use_reentrant": False, **kwargs})
    if output.requires_grad:
        output.register_hook(lambda gradient: gradient * (1 - 2e-5))
    return output
