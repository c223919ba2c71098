"""Offloads activations by hooks of its own."""

import torch

SOUND = True


def pack(tensor):
    return tensor.device, tensor.to("cpu")


def unpack(packed):
    device, tensor = packed
    return tensor.to(device)


def checkpoint_function(function, *args, use_reentrant=False, preserve_rng_state=True):
    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        return function(*args)
