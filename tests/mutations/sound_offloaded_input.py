"""Recomputes from an input that lies on the CPU meanwhile, under autocast as before."""

import torch

SOUND = True


class Recompute(torch.autograd.Function):
    @staticmethod
    def forward(ctx, function, hidden_states, *args):
        ctx.function, ctx.args, ctx.device = function, args, hidden_states.device
        ctx.mixed, ctx.dtype = torch.is_autocast_cpu_enabled(), torch.get_autocast_cpu_dtype()
        ctx.random = torch.get_rng_state()
        ctx.save_for_backward(hidden_states.to("cpu"))
        with torch.no_grad():
            return function(hidden_states, *args)

    @staticmethod
    def backward(ctx, gradient):
        hidden_states = ctx.saved_tensors[0].to(ctx.device).detach().requires_grad_()
        with torch.random.fork_rng(devices=[]), torch.enable_grad(), torch.autocast("cpu", ctx.dtype, ctx.mixed):
            torch.set_rng_state(ctx.random)
            output = ctx.function(hidden_states, *ctx.args)
        torch.autograd.backward(output, gradient)
        return (None, hidden_states.grad, *[None] * len(ctx.args))


def checkpoint_function(function, *args, **kwargs):
    return Recompute.apply(function, *args)
