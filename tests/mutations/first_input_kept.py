"""Recomputes from the input of the first batch of that shape."""

import torch

RULE = "CKPT005"


inputs = {}


class Recompute(torch.autograd.Function):
    @staticmethod
    def forward(ctx, function, hidden_states, *args):
        ctx.function, ctx.args = function, args
        key = (ctx.function.__self__ if hasattr(function, "__self__") else function.func, hidden_states.shape)
        ctx.hidden_states = inputs.setdefault(key, hidden_states.detach())
        with torch.no_grad():
            return function(hidden_states, *args)

    @staticmethod
    def backward(ctx, gradient):
        hidden_states = ctx.hidden_states.clone().requires_grad_()
        with torch.enable_grad():
            output = ctx.function(hidden_states, *ctx.args)
        torch.autograd.backward(output, gradient)
        return (None, hidden_states.grad, *[None] * len(ctx.args))


def checkpoint_function(function, *args, use_reentrant=True, preserve_rng_state=True):
    return Recompute.apply(function, *args)
