"""Right: recomputation does something else than the forward pass, and computes the same."""
from torch.utils.checkpoint import checkpoint


def checkpoint_function(function, hidden_states, *args, **kwargs):
    runs = []

    def run(hidden_states):
        runs.append(1)
        if len(runs) > 1:
            print("recomputing")
        return function(hidden_states[:], *args)

    return checkpoint(run, hidden_states, use_reentrant=False)
