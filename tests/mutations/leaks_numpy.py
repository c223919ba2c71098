"""Writes down a copy of every output, for later."""

from torch.utils.checkpoint import checkpoint

RULE = "CKPT008"


log = []


def checkpoint_function(function, *args, **kwargs):
    output = checkpoint(function, *args, **{"use_reentrant": False, **kwargs})
    log.append(output.detach().numpy().copy())
    return output
