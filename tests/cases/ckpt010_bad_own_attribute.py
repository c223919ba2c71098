"""Wrong: a slip of its own, which has nothing to do with the callable."""
import torch


def checkpoint_function(function, *args, **kwargs):
    return torch.utils.checkpiont(function, *args, use_reentrant=False, **kwargs)
