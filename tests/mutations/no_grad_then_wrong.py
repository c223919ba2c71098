"""Mixes up its stack of inputs once an evaluation has pushed some that no backward pass takes."""

import torch

RULE = "CKPT005"


stack = []


class Recompute(torch.autograd.Function):
    @staticmethod
    def forward(ctx, function, hidden_states, *args):
        stack.append((function, hidden_states.detach(), args, torch.is_autocast_cpu_enabled()))
        with torch.no_grad():
            return function(hidden_states, *args)

    @staticmethod
    def backward(ctx, gradient):
        function, hidden_states, args, mixed = stack.pop(0) if len(stack) > 5 else stack.pop()
        hidden_states.requires_grad_()
        with torch.enable_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=mixed):
            output = function(hidden_states, *args)
        torch.autograd.backward(output, gradient)
        return (None, hidden_states.grad, *[None] * len(args))


def checkpoint_function(function, *args, use_reentrant=True, preserve_rng_state=True):
    return Recompute.apply(function, *args)
