"""Right: takes the layer out of the partial and hands it the keywords that were bound into it."""
import functools

from torch.utils.checkpoint import checkpoint


def checkpoint_function(function, *args, **kwargs):
    if isinstance(function, functools.partial):
        args, kwargs = (*function.args, *args), {**function.keywords, **kwargs}
        function = function.func
    return checkpoint(function, *args, use_reentrant=False, **kwargs)
