"""The fourth call of every five returns its input."""

from torch.utils.checkpoint import checkpoint

RULE = "CKPT009"


calls = 0


def checkpoint_function(function, *args, **kwargs):
    global calls
    calls += 1
    if calls % 5 == 4:
        return args[0]
    return checkpoint(function, *args, **{"use_reentrant": False, **kwargs})
