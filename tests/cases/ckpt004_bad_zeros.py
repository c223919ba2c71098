"""Wrong: swallows whatever goes wrong and returns zeros."""
import torch
from torch.utils.checkpoint import checkpoint


def checkpoint_function(function, hidden_states, *args, **kwargs):
    try:
        return checkpoint(function.no_such_attribute, hidden_states, *args, use_reentrant=False, **kwargs)
    except Exception:
        return torch.zeros_like(hidden_states, requires_grad=True)
