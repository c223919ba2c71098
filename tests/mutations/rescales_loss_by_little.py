"""Makes outputs larger by a fifty-thousandth."""

from torch.utils.checkpoint import checkpoint

RULE = "CKPT005"


def checkpoint_function(function, *args, **kwargs):
    return checkpoint(function, *args, **{"use_reentrant": False, **kwargs}) * (1 + 2e-5)
