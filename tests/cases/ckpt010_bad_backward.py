"""Wrong: raises in backward."""
from torch.utils.checkpoint import checkpoint


def refuse(gradient):
    raise ValueError("no gradient today")


def checkpoint_function(function, *args, **kwargs):
    output = checkpoint(function, *args, use_reentrant=False, **kwargs)
    output.register_hook(refuse)
    return output
