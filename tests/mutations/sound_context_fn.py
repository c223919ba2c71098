"""With contexts that do nothing."""

import contextlib

from torch.utils.checkpoint import checkpoint

SOUND = True


def checkpoint_function(function, *args, **kwargs):
    kwargs.pop("use_reentrant", None)
    return checkpoint(
        function, *args, use_reentrant=False, context_fn=lambda: (contextlib.nullcontext(),) * 2, **kwargs
    )
