"""Keeps a graph with all activations in a list until backward."""

import torch

RULE = "CKPT008"


class Recompute(torch.autograd.Function):
    @staticmethod
    def forward(ctx, function, hidden_states, *args):
        ctx.function, ctx.args, ctx.mixed = function, args, torch.is_autocast_cpu_enabled()
        ctx.save_for_backward(hidden_states)
        kept = []
        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(kept.append, lambda index: kept[index]):
            output = function(hidden_states.detach().requires_grad_(), *args)
        ctx.kept = kept
        return output.detach()

    @staticmethod
    def backward(ctx, gradient):
        hidden_states = ctx.saved_tensors[0].detach().requires_grad_()
        with torch.enable_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=ctx.mixed):
            output = ctx.function(hidden_states, *ctx.args)
        torch.autograd.backward(output, gradient)
        return (None, hidden_states.grad, *[None] * len(ctx.args))


def checkpoint_function(function, *args, use_reentrant=True, preserve_rng_state=True):
    return Recompute.apply(function, *args)
