"""axolotl: its wrapper in the place of the function that transformers imported from torch."""

from __future__ import annotations

import functools
from typing import Any

import torch

from .. import catalog
from ..functions import enable_torch, pass_to


def enable(module: Any, model: torch.nn.Module, name: str, reentrant: bool) -> None:
    """As axolotl's patch manager does."""
    function = getattr(module, catalog.FUNCTIONS[name]["needs"][0])
    if not hasattr(model, "_set_gradient_checkpointing"):
        pass_to(model, functools.partial(function, use_reentrant=reentrant))
        return
    import transformers.modeling_utils

    transformers.modeling_utils.checkpoint = function
    enable_torch(model, use_reentrant=reentrant)
