"""Wrong: computes the layer, and returns its input."""
from torch.utils.checkpoint import checkpoint


def checkpoint_function(function, hidden_states, *args, **kwargs):
    output = checkpoint(function, hidden_states, *args, use_reentrant=False, **kwargs)
    return hidden_states + 1e-20 * output
