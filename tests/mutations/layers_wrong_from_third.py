"""From the third layer of a chain on, the gradient is doubled."""

import torch
from torch.utils.checkpoint import checkpoint

RULE = "CKPT005"


def depth(node, limit=40):
    found = 0
    while node is not None and limit:
        found += "Checkpoint" in type(node).__name__
        node = next((one for one, _ in node.next_functions if one is not None), None)
        limit -= 1
    return found


def checkpoint_function(function, *args, **kwargs):
    output = checkpoint(function, *args, **{"use_reentrant": True, **kwargs})
    if torch.is_grad_enabled() and depth(output.grad_fn) > 2:
        output.register_hook(lambda gradient: 2 * gradient)
    return output
