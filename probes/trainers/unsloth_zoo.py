"""unsloth-zoo: its own checkpoint function in the place of torch's, offloading inputs of 2 MB and more."""

from __future__ import annotations

import sys
from typing import Any

import torch
import torch.utils.checkpoint

from .. import stand_in
from ..functions import NeedsGpuError, enable_torch, pass_to

WITHOUT_BUFFERS = {
    "CPU_BUFFERS": [],
    "CPU_INDEX": 0,
    "MINIMUM_SIZE": sys.maxsize,
    "USE_UNSLOTH_GC": True,
    "USE_DOUBLE_BUFFER": False,
    "BACKWARD_PASS": True,
    "LAST_GC_INDEX": 0,
    "FIRST_PASS": True,
    "CURRENT_GC_INDEX": 0,
}
"""What its initialisation sets, without the buffers on a GPU: inputs are too small for them, as a tiny model's are on a GPU."""


def enable(module: Any, model: torch.nn.Module, name: str, reentrant: bool) -> None:
    """As ``use_gradient_checkpointing="unsloth"`` does, and then Trainer."""
    if not torch.cuda.is_available():
        if not stand_in.IS_ON:
            raise NeedsGpuError("its buffers are on a GPU")
        module.initialize_unsloth_gradient_checkpointing = lambda dtype=None: vars(module).update(WITHOUT_BUFFERS)
    module.patch_unsloth_smart_gradient_checkpointing()
    if not hasattr(model, "_set_gradient_checkpointing"):
        pass_to(model, module.unsloth_checkpoint)
        return
    model._set_gradient_checkpointing()
    model.enable_input_require_grads()
    enable_torch(model, use_reentrant=reentrant)
