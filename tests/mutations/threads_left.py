"""Sets the number of threads, and leaves it."""

import torch
from torch.utils.checkpoint import checkpoint

RULE = "CKPT012"


def checkpoint_function(function, *args, **kwargs):
    torch.set_num_threads(2)
    return checkpoint(function, *args, **{"use_reentrant": False, **kwargs})
