"""Asks autograd for the gradients of hidden states and parameters, and for nothing else."""

import torch

RULE = "CKPT004"


class Recompute(torch.autograd.Function):
    @staticmethod
    def forward(ctx, function, hidden_states, *args):
        ctx.function, ctx.args = function, args
        ctx.mixed = torch.is_autocast_cpu_enabled()
        ctx.save_for_backward(hidden_states)
        with torch.no_grad():
            return function(hidden_states, *args)

    @staticmethod
    def backward(ctx, gradient):
        hidden_states = ctx.saved_tensors[0].detach().requires_grad_()
        with torch.enable_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=ctx.mixed):
            output = ctx.function(hidden_states, *ctx.args)
        layer = getattr(ctx.function, "__self__", None) or ctx.function.func.__self__
        parameters = [one for one in layer.parameters() if one.requires_grad]
        first, *rest = torch.autograd.grad(output, [hidden_states, *parameters], gradient)
        for parameter, one in zip(parameters, rest, strict=True):
            parameter.grad = one if parameter.grad is None else parameter.grad + one
        return (None, first, *[None] * len(ctx.args))


def checkpoint_function(function, *args, use_reentrant=True, preserve_rng_state=True):
    return Recompute.apply(function, *args)
