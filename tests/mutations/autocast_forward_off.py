"""Turns autocast off around the layer."""

import torch
from torch.utils.checkpoint import checkpoint

RULE = "CKPT009"


def checkpoint_function(function, *args, **kwargs):
    with torch.autocast("cpu", enabled=False):
        return checkpoint(function, *args, **{"use_reentrant": False, **kwargs})
