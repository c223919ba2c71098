"""Wrong: recomputes with half of the batch."""
from torch.utils.checkpoint import checkpoint


def checkpoint_function(function, hidden_states, *args, **kwargs):
    runs = []

    def run(hidden_states):
        runs.append(1)
        rows = len(hidden_states) if len(runs) == 1 else 1
        return function(hidden_states[:rows], *args, **kwargs)

    return checkpoint(run, hidden_states, use_reentrant=False)
