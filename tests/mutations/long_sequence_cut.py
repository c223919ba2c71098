"""Cuts what it recomputes of sequences longer than 32 tokens."""

import torch
from torch.utils.checkpoint import checkpoint

RULE = "CKPT009"


def checkpoint_function(function, *args, **kwargs):
    output = checkpoint(function, *args, **{"use_reentrant": False, **kwargs})
    if output.shape[1] > 32:
        output = torch.cat((output[:, :32], args[0][:, 32:]), 1)
    return output
