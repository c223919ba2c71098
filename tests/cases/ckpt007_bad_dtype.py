"""Wrong: recomputes under another autocast than the forward pass ran under."""
import torch
from torch.utils.checkpoint import checkpoint


def checkpoint_function(function, *args, **kwargs):
    runs = []

    def run(*args):
        runs.append(1)
        with torch.autocast(args[0].device.type, dtype=torch.bfloat16, enabled=len(runs) > 1):
            return function(*args, **kwargs)

    return checkpoint(run, *args, use_reentrant=False)
