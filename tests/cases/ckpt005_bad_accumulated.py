"""Wrong: throws away the gradients of earlier steps: right in the first step, wrong when gradients are accumulated."""
import torch
from torch.utils.checkpoint import checkpoint


class Forget(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden_states, layer):
        ctx.layer = layer
        return hidden_states.view_as(hidden_states)

    @staticmethod
    def backward(ctx, gradient):
        for parameter in ctx.layer.parameters():
            parameter.grad = None
        return gradient, None


def checkpoint_function(function, hidden_states, *args, **kwargs):
    output = checkpoint(function, hidden_states, *args, use_reentrant=False, **kwargs)
    return Forget.apply(output, layer_of(function))


def layer_of(function):
    held = getattr(function, "__self__", None) or getattr(function.func, "__self__", None)
    return held if held is not None else function.args[0]
