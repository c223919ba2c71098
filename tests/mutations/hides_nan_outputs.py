"""Replaces outputs that are not numbers."""

import torch
from torch.utils.checkpoint import checkpoint

RULE = "CKPT005"


def checkpoint_function(function, *args, **kwargs):
    return torch.nan_to_num(checkpoint(function, *args, **{"use_reentrant": False, **kwargs}))
