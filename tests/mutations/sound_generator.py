"""Draws random numbers from a generator of its own."""

import torch
from torch.utils.checkpoint import checkpoint

SOUND = True


generator = torch.Generator()


def checkpoint_function(function, *args, **kwargs):
    torch.rand(1, generator=generator)
    return checkpoint(function, *args, **{"use_reentrant": False, **kwargs})
