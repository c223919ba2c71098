"""Offloads activations by torch's own hooks, and recomputes nothing."""

import torch

SOUND = True


def checkpoint_function(function, *args, use_reentrant=False, preserve_rng_state=True):
    with torch.autograd.graph.save_on_cpu(pin_memory=True):
        return function(*args)
