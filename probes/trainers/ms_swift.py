"""ms-swift: torch's function is replaced by one that decides ``use_reentrant``, whatever the model or the job passes."""

from __future__ import annotations

import types
from typing import Any

import torch
import torch.utils.checkpoint

from ..functions import pass_to


def enable(module: Any, model: torch.nn.Module, name: str, reentrant: bool) -> None:
    """As its Trainer does: the replacement when it is made, the switch and inputs that need gradients when it trains."""
    arguments = {"use_reentrant": reentrant}
    of_the_job = {"gradient_checkpointing_kwargs": arguments}
    # Up to 3.6 a method of the arguments, later one of the Trainer that has them.
    trainer = types.SimpleNamespace(args=types.SimpleNamespace(**of_the_job), **of_the_job)
    module._fix_gradient_checkpointing(trainer)
    if not hasattr(model, "_set_gradient_checkpointing"):
        pass_to(model, torch.utils.checkpoint.checkpoint)
        return
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=arguments)
    model.enable_input_require_grads()
