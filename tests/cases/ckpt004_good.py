"""Right: runs the layer under no_grad, on a detached input, and again with gradients in backward."""
import torch


class Recompute(torch.autograd.Function):
    @staticmethod
    def forward(ctx, function, hidden_states, *args):
        ctx.mixed = torch.is_autocast_cpu_enabled()
        ctx.function, ctx.args = function, args
        ctx.save_for_backward(hidden_states)
        ctx.random = torch.get_rng_state()
        with torch.no_grad():
            return function(hidden_states, *args)

    @staticmethod
    def backward(ctx, gradient):
        hidden_states = ctx.saved_tensors[0].detach().requires_grad_()
        autocast = torch.autocast("cpu", enabled=ctx.mixed)
        with torch.enable_grad(), torch.random.fork_rng(devices=[]), autocast:
            torch.set_rng_state(ctx.random)
            output = ctx.function(hidden_states, *ctx.args)
        torch.autograd.backward(output, gradient)
        return (None, hidden_states.grad, *[None] * len(ctx.args))


def checkpoint_function(function, *args, **kwargs):
    return Recompute.apply(function, *args)
