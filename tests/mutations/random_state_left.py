"""Seeds the random numbers anew before recomputation, for good."""

import torch
from torch.utils.checkpoint import checkpoint

RULE = "CKPT012"


def checkpoint_function(function, *args, **kwargs):
    def run(*inputs):
        torch.manual_seed(0)
        return function(*inputs)

    return checkpoint(run, *args, use_reentrant=False, preserve_rng_state=False)
