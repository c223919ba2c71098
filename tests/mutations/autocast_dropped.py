"""Recomputes outside of the autocast that the forward pass ran under."""

import torch

RULE = "CKPT005"


class Recompute(torch.autograd.Function):
    @staticmethod
    def forward(ctx, function, hidden_states, *args):
        ctx.function, ctx.args = function, args
        ctx.save_for_backward(hidden_states)
        with torch.no_grad():
            return function(hidden_states, *args)

    @staticmethod
    def backward(ctx, gradient):
        hidden_states = ctx.saved_tensors[0].detach().requires_grad_()
        with torch.enable_grad():
            output = ctx.function(hidden_states, *ctx.args)
        torch.autograd.backward(output, gradient)
        return (None, hidden_states.grad, *[None] * len(ctx.args))


def checkpoint_function(function, *args, use_reentrant=True, preserve_rng_state=True):
    return Recompute.apply(function, *args)
