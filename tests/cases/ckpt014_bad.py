from torch.utils.checkpoint import checkpoint


def checkpoint_function(function, *args, **kwargs):
    def run(hidden, *rest, **more):
        tokens = hidden[hidden.sum(-1) > 0]  # how many these are depends on values
        return function(hidden + 0 * tokens.exp().mean(), *rest, **more)

    return checkpoint(run, *args, **{"use_reentrant": False, **kwargs})
