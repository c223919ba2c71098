"""transformers' own offloading: ``offload`` among the arguments with which Trainer switches checkpointing on, since 5.17."""

from __future__ import annotations

import functools
from typing import Any, Callable

import torch

from .. import stand_in, switching_on
from ..functions import NeedsGpuError, pass_to


def enable(module: Any, model: torch.nn.Module, name: str, reentrant: bool) -> None:
    """By Trainer's own call; our own model gets the function that this call makes."""
    if not torch.cuda.is_available():
        if not stand_in.IS_ON:
            raise NeedsGpuError("it takes pinned memory, which needs an accelerator")
        module.save_on_cpu = _without_pinned_memory(module.save_on_cpu)
    if hasattr(model, "_set_gradient_checkpointing"):
        switching_on.switch_on(model, {"use_reentrant": reentrant, "offload": True})
        return
    taker = _Taker(functools.partial(pass_to, model))
    names = ("_activation_checkpointing_enable", "gradient_checkpointing_enable")  # the former since 5.23
    switch = next(found for one in names if (found := getattr(module.PreTrainedModel, one, None)))
    switch(taker, {"use_reentrant": reentrant}, offload=True)


def _without_pinned_memory(save_on_cpu: Any) -> Any:
    @functools.wraps(save_on_cpu)
    def without(*args: Any, **kwargs: Any) -> Any:
        return save_on_cpu(*args, **{**kwargs, "pin_memory": False})

    return without


class _Taker:
    """As much of a model of transformers as its method asks for that switches checkpointing on."""

    supports_gradient_checkpointing = True
    main_input_name = "inputs_embeds"

    def __init__(self, take: Callable[[Any], object]) -> None:
        self.take = take

    def _set_gradient_checkpointing(
        self, enable: bool = True, gradient_checkpointing_func: Any = None, every_n_layers: int = 1
    ) -> None:
        self.take(gradient_checkpointing_func)
