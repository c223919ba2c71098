"""Wrong: runs the layer under no_grad and forgets to run it again in backward."""
import torch


def checkpoint_function(function, *args, **kwargs):
    with torch.no_grad():
        return function(*args, **kwargs)
