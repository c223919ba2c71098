"""Refuses to run under autocast."""

import torch
from torch.utils.checkpoint import checkpoint

RULE = "CKPT010"


def checkpoint_function(function, *args, **kwargs):
    if torch.is_autocast_cpu_enabled():
        raise RuntimeError("mixed precision is not supported")
    return checkpoint(function, *args, **{"use_reentrant": False, **kwargs})
