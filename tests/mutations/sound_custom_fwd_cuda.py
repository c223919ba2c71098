"""Its autocast is CUDA's, by torch's decorators: nothing can be told of it on a CPU."""

import torch

SOUND = True


class Recompute(torch.autograd.Function):
    @staticmethod
    @torch.amp.custom_fwd(device_type="cuda")
    def forward(ctx, function, hidden_states, *args):
        ctx.function, ctx.args = function, args
        ctx.random = torch.get_rng_state()
        ctx.save_for_backward(hidden_states)
        with torch.no_grad():
            return function(hidden_states, *args)

    @staticmethod
    @torch.amp.custom_bwd(device_type="cuda")
    def backward(ctx, gradient):
        hidden_states = ctx.saved_tensors[0].detach().requires_grad_()
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.set_rng_state(ctx.random)
            output = ctx.function(hidden_states, *ctx.args)
        torch.autograd.backward(output, gradient)
        return (None, hidden_states.grad, *[None] * len(ctx.args))


def checkpoint_function(function, *args, **kwargs):
    return Recompute.apply(function, *args)
