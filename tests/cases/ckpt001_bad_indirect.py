"""Wrong: what it finds in a callable that is no bound method is None, and fails one step later."""
from torch.utils.checkpoint import checkpoint


def checkpoint_function(function, *args, **kwargs):
    layer = getattr(function, "__self__", None)
    trainable = any(parameter.requires_grad for parameter in layer.parameters())
    return checkpoint(function, *args, use_reentrant=False, **kwargs) if trainable else function(*args, **kwargs)
