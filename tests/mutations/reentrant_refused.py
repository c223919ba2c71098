"""Cannot be called with use_reentrant, as transformers calls torch's."""

from torch.utils.checkpoint import checkpoint

RULE = "CKPT010"


def checkpoint_function(function, *args):
    return checkpoint(function, *args, use_reentrant=False)
