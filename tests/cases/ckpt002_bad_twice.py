"""Wrong: runs the layer twice in the forward pass, for nothing, and never in backward."""
import torch


def checkpoint_function(function, *args, **kwargs):
    with torch.no_grad():
        function(*args, **kwargs)
    return function(*args, **kwargs)
