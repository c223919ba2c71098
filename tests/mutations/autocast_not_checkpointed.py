"""Does not checkpoint under autocast."""

import torch
from torch.utils.checkpoint import checkpoint

RULE = "CKPT002"


def checkpoint_function(function, *args, **kwargs):
    if torch.is_autocast_cpu_enabled():
        return function(*args)
    return checkpoint(function, *args, **{"use_reentrant": False, **kwargs})
