"""Detaches what comes in beside the hidden states."""

import functools

import torch
from torch.utils.checkpoint import checkpoint

RULE = "CKPT004"


def bare(value):
    if torch.is_tensor(value):
        return value.detach()
    return tuple(map(bare, value)) if isinstance(value, tuple) else value


def checkpoint_function(function, hidden_states, *args, **kwargs):
    if getattr(function, "keywords", None):
        keywords = {name: bare(value) for name, value in function.keywords.items()}
        function = functools.partial(function.func, *function.args, **keywords)
    return checkpoint(function, hidden_states, *map(bare, args), **{"use_reentrant": False, **kwargs})
