"""Sets the default dtype, and leaves it."""

import torch
from torch.utils.checkpoint import checkpoint

RULE = "CKPT012"


def checkpoint_function(function, *args, **kwargs):
    output = checkpoint(function, *args, **{"use_reentrant": False, **kwargs})
    torch.set_default_dtype(torch.bfloat16)
    return output
