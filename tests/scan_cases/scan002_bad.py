"""A checkpoint function is replaced, in three ways."""

import torch
import transformers.modeling_utils as utils


def offload(function, *inputs, use_reentrant=None):
    with torch.autograd.graph.save_on_cpu():
        return function(*inputs)


def patch(model):
    torch.utils.checkpoint.checkpoint = offload  # SCAN002
    setattr(utils, "checkpoint", offload)  # noqa: B010  # SCAN002
    for module in model.modules():
        module._gradient_checkpointing_func = offload  # SCAN002
