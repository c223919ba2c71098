"""Requires an input that needs a gradient, and fails on frozen embeddings."""

import torch
from torch.utils.checkpoint import checkpoint

RULE = "CKPT010"


def checkpoint_function(function, *args, **kwargs):
    if torch.is_grad_enabled() and not args[0].requires_grad:
        raise ValueError("the input must require a gradient")
    return checkpoint(function, *args, **{"use_reentrant": False, **kwargs})
