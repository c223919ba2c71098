"""Turns gradients on, and leaves them on."""

import torch
from torch.utils.checkpoint import checkpoint

RULE = "CKPT012"


def checkpoint_function(function, *args, **kwargs):
    torch.set_grad_enabled(True)
    return checkpoint(function, *args, **{"use_reentrant": False, **kwargs})
