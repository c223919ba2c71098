"""Ways to break a job's checkpointing, each by name in ``FAULT``; ``FAULT_RANK`` breaks one rank alone."""

import os

import torch

NAME = os.environ.get("FAULT", "")
if os.environ.get("FAULT_RANK", os.environ.get("RANK", "0")) != os.environ.get("RANK", "0"):
    NAME = ""


def layers_of(model):
    return next(one for one in model.modules() if isinstance(one, torch.nn.ModuleList))


def before(model):
    """Break a model before it is trained."""
    if NAME in globals():
        globals()[NAME](model)


def replaced_forward(model):
    """As trainers patch a model family: the class gets another forward, which calls the one that was there."""
    kind = type(layers_of(model)[0])
    original = getattr(kind.forward, "__wrapped__", kind.forward)

    def patched_forward(self, *args, **kwargs):
        return original(self, *args, **kwargs)

    kind.forward = patched_forward


def functional_dropout(model):
    """A mask that is drawn from a generator of its own, which recomputation does not set back."""
    generator = torch.Generator().manual_seed(0)

    def drop(module, args, output):
        return output * (torch.rand(output.shape, generator=generator) > 0.2)

    layers_of(model)[1].self_attn.o_proj.register_forward_hook(drop)


def flips(model):
    """Routing that takes another way in recomputation."""
    state = {"calls": 0}

    def route(module, args):
        state["calls"] += 1
        return (args[0].roll(state["calls"], -1), *args[1:])

    layers_of(model)[1].mlp.register_forward_pre_hook(route)


def skips(model):
    """A layer that is checkpointed by nobody."""
    layers_of(model)[1].gradient_checkpointing = False
    torch.nn.Module.__setattr__(layers_of(model)[1], "__call__", None)


def raises_in_forward(model):
    def fail(module, args):
        raise ValueError("a fault in forward")

    layers_of(model)[1].mlp.register_forward_pre_hook(fail)


def raises_in_backward(model):
    def fail(gradient):
        raise ValueError("a fault in backward")

    layers_of(model)[1].mlp.up_proj.weight.register_hook(fail)
