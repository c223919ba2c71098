"""Hands its own keyword arguments on to the layer."""

import functools

from torch.utils.checkpoint import checkpoint

RULE = "CKPT010"


def checkpoint_function(function, *args, **kwargs):
    return checkpoint(functools.partial(function, **kwargs), *args, use_reentrant=False)
