"""Keeps activations by hooks that do nothing, on the device where they are."""

import torch

RULE = "CKPT002"


def checkpoint_function(function, *args, use_reentrant=True, preserve_rng_state=True):
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor, lambda tensor: tensor):
        return function(*args)
