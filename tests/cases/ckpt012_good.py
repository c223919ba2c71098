"""Right: turns anomaly mode on for the forward pass, and puts it back."""
import torch
from torch.utils.checkpoint import checkpoint


def checkpoint_function(function, *args, **kwargs):
    with torch.autograd.set_detect_anomaly(True):
        return checkpoint(function, *args, use_reentrant=False, **kwargs)
