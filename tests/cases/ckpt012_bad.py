"""Wrong: turns anomaly mode on, and leaves it on."""
import torch
from torch.utils.checkpoint import checkpoint


def checkpoint_function(function, *args, **kwargs):
    torch.autograd.set_detect_anomaly(True)
    return checkpoint(function, *args, use_reentrant=False, **kwargs)
