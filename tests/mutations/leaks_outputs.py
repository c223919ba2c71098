"""Keeps every output it ever returned."""

from torch.utils.checkpoint import checkpoint

RULE = "CKPT008"


outputs = []


def checkpoint_function(function, *args, **kwargs):
    output = checkpoint(function, *args, **{"use_reentrant": False, **kwargs})
    outputs.append(output.detach())
    return output
