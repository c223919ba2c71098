"""Reads that go by what is there, in checkpoint functions; and reads that have nothing to do with checkpointing."""

import functools

from torch.utils.checkpoint import checkpoint


def layer_of(function):
    if isinstance(function, functools.partial):
        owner = getattr(function.func, "__self__", None)
        return owner if owner is not None else function.args[0]
    return getattr(function, "__self__", None)  # note: SCAN001


def checkpoint_trainable_layers(function, *inputs):
    layer = layer_of(function)
    try:
        owner = function.__self__
    except AttributeError:
        owner = layer
    return checkpoint(function, *inputs, use_reentrant=False) if owner.training else function(*inputs)


def name_of(callback):
    return callback.__self__.name
