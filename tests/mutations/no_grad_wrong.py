"""Under no_grad, returns zeros."""

import torch
from torch.utils.checkpoint import checkpoint

RULE = "CKPT009"


def checkpoint_function(function, *args, **kwargs):
    if not torch.is_grad_enabled():
        return torch.zeros_like(args[0])
    return checkpoint(function, *args, **{"use_reentrant": False, **kwargs})
