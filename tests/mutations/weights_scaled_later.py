"""Changes the weights of the first layer after backward has gone through it."""

from torch.utils.checkpoint import checkpoint

RULE = "CKPT012"


def checkpoint_function(function, hidden_states, *args, **kwargs):
    layer = getattr(function, "__self__", None) or function.func.__self__

    def shrink(gradient):
        layer.input_layernorm.weight.data.mul_(1 - 1e-6)

    if hidden_states.requires_grad:
        hidden_states = hidden_states * 1.0
        hidden_states.register_hook(shrink)
    return checkpoint(function, hidden_states, *args, **{"use_reentrant": False, **kwargs})
