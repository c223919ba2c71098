"""Restores the random state of the forward pass in backward, and leaves it so."""

import torch

RULE = "CKPT012"


class Recompute(torch.autograd.Function):
    @staticmethod
    def forward(ctx, function, hidden_states, *args):
        ctx.function, ctx.args, ctx.mixed = function, args, torch.is_autocast_cpu_enabled()
        ctx.random = torch.get_rng_state()
        ctx.save_for_backward(hidden_states)
        with torch.no_grad():
            return function(hidden_states, *args)

    @staticmethod
    def backward(ctx, gradient):
        hidden_states = ctx.saved_tensors[0].detach().requires_grad_()
        torch.set_rng_state(ctx.random)
        with torch.enable_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=ctx.mixed):
            output = ctx.function(hidden_states, *ctx.args)
        torch.autograd.backward(output, gradient)
        return (None, hidden_states.grad, *[None] * len(ctx.args))


def checkpoint_function(function, *args, use_reentrant=True, preserve_rng_state=True):
    return Recompute.apply(function, *args)
