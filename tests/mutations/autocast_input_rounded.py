"""Under autocast, keeps the input in bf16 and recomputes from that."""

import torch

RULE = "CKPT005"


class Recompute(torch.autograd.Function):
    @staticmethod
    def forward(ctx, function, hidden_states, *args):
        ctx.function, ctx.args = function, args
        ctx.is_mixed = torch.is_autocast_cpu_enabled()
        ctx.save_for_backward(hidden_states.bfloat16() if ctx.is_mixed else hidden_states)
        with torch.no_grad():
            return function(hidden_states, *args)

    @staticmethod
    def backward(ctx, gradient):
        hidden_states = ctx.saved_tensors[0].detach().requires_grad_()
        with torch.enable_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=ctx.is_mixed):
            output = ctx.function(hidden_states, *ctx.args)
        torch.autograd.backward(output, gradient)
        return (None, hidden_states.grad.float(), *[None] * len(ctx.args))


def checkpoint_function(function, *args, use_reentrant=True, preserve_rng_state=True):
    return Recompute.apply(function, *args)
