"""Wrong: cannot even be imported."""
from torch.utils.checkpoint import no_such_name


def checkpoint_function(function, *args, **kwargs):
    return no_such_name(function, *args, **kwargs)
