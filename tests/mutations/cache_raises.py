"""Cannot go on after evaluation has left something in its queue."""

import torch
from torch.utils.checkpoint import checkpoint

RULE = "CKPT010"


queue = []


def checkpoint_function(function, *args, **kwargs):
    if not torch.is_grad_enabled():
        queue.append(args)
    elif queue:
        raise RuntimeError("a batch is still in the queue")
    return checkpoint(function, *args, **{"use_reentrant": False, **kwargs})
