"""torch's reentrant one."""

from torch.utils.checkpoint import checkpoint

SOUND = True


def checkpoint_function(function, *args, **kwargs):
    return checkpoint(function, *args, **{"use_reentrant": True, **kwargs})
