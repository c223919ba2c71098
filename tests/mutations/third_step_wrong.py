"""From the twelfth call on, the gradient is halved."""

from torch.utils.checkpoint import checkpoint

RULE = "CKPT005"


calls = 0


def checkpoint_function(function, *args, **kwargs):
    global calls
    calls += 1
    output = checkpoint(function, *args, **{"use_reentrant": False, **kwargs})
    if calls > 11 and output.requires_grad:
        output.register_hook(lambda gradient: gradient / 2)
    return output
