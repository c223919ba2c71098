"""Wrong: the gradient is doubled on its way through every layer."""
import torch
from torch.utils.checkpoint import checkpoint


class Twice(torch.autograd.Function):
    @staticmethod
    def forward(ctx, output):
        return output.view_as(output)

    @staticmethod
    def backward(ctx, gradient):
        return 2 * gradient


def checkpoint_function(function, *args, **kwargs):
    return Twice.apply(checkpoint(function, *args, use_reentrant=False, **kwargs))
