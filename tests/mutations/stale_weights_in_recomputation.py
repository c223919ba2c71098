"""Recomputes with the weights of the layer's first call."""

import torch
from torch.utils.checkpoint import checkpoint

RULE = "CKPT005"


weights = {}


def checkpoint_function(function, *args, **kwargs):
    layer = getattr(function, "__self__", None) or function.func.__self__
    kept = weights.setdefault(layer, {name: one.detach().clone() for name, one in layer.named_parameters()})
    runs = []

    def run(*inputs):
        runs.append(1)
        if len(runs) == 1:
            return function(*inputs)
        held = {name: one - one.detach() + kept[name] for name, one in layer.named_parameters()}
        return torch.func.functional_call(layer, held, inputs, getattr(function, "keywords", {}))

    return checkpoint(run, *args, use_reentrant=True)
