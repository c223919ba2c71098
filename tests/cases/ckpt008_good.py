"""Right: keeps a second copy of the layer's input, which is little beside what a layer keeps."""
import torch
from torch.utils.checkpoint import checkpoint


def checkpoint_function(function, hidden_states, *args, **kwargs):
    output = checkpoint(function, hidden_states * 1.0, *args, use_reentrant=False, **kwargs)
    return output * torch.ones_like(output)
