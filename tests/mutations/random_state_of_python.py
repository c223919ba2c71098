"""Seeds Python's random numbers at every call."""

import random

from torch.utils.checkpoint import checkpoint

RULE = "CKPT012"


def checkpoint_function(function, *args, **kwargs):
    random.seed(0)
    return checkpoint(function, *args, **{"use_reentrant": False, **kwargs})
