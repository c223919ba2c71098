"""Raises where an output is not a number."""

from torch.utils.checkpoint import checkpoint

SOUND = True


def checkpoint_function(function, *args, **kwargs):
    output = checkpoint(function, *args, **{"use_reentrant": False, **kwargs})
    if not output.isfinite().all():
        raise FloatingPointError("not a number")
    return output
