"""Turns anomaly mode on, which makes every later step slow."""

import torch
from torch.utils.checkpoint import checkpoint

RULE = "CKPT012"


def checkpoint_function(function, *args, **kwargs):
    torch.autograd.set_detect_anomaly(True)
    return checkpoint(function, *args, **{"use_reentrant": False, **kwargs})
