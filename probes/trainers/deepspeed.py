"""DeepSpeed's checkpoint function, configured as users do: ``deepspeed.checkpointing.configure`` with or without an mpu."""

from __future__ import annotations

import inspect
import os
from typing import Any

import torch

from .. import stand_in
from ..engines import process_group
from ..engines.deepspeed import import_deepspeed
from ..functions import NeedsGpuError, pass_to

import_deepspeed()

SETTINGS: dict[str, dict[str, Any]] = {
    "deepspeed:configured": {"partition_activations": False},
    "deepspeed:cpu": {"partition_activations": True, "checkpoint_in_cpu": True},
    "deepspeed:partitioned": {"partition_activations": True},
    "deepspeed:contiguous": {"partition_activations": True, "contiguous_checkpointing": True},
}
"""By the function's name, what is given to ``configure``."""


class OneRank:
    """Model parallelism, as Megatron's mpu tells it, of a single process."""

    def get_model_parallel_rank(self) -> int:
        """The only one."""
        return 0

    get_tensor_model_parallel_rank = get_data_parallel_rank = get_model_parallel_rank

    def get_model_parallel_world_size(self) -> int:
        """Of one process."""
        return 1

    get_tensor_model_parallel_world_size = get_data_parallel_world_size = get_model_parallel_world_size

    def get_model_parallel_group(self) -> None:
        """None: nothing is sent."""

    get_tensor_model_parallel_group = get_data_parallel_group = get_model_parallel_group


def enable(module: Any, model: torch.nn.Module, name: str, reentrant: bool) -> None:
    """Configure it, and pass it to the model; it is always reentrant."""
    _need_streams(module)
    process_group(int(os.environ.get("WORLD_SIZE", "1")))
    import_deepspeed().init_distributed("nccl" if torch.cuda.is_available() else "gloo", auto_mpi_discovery=False)
    settings = dict(SETTINGS[name])
    if settings.get("contiguous_checkpointing"):
        settings["num_checkpoints"] = len(next(one for one in model.modules() if isinstance(one, torch.nn.ModuleList)))
    module.configure(OneRank() if settings["partition_activations"] else None, **settings)
    pass_to(model, module.checkpoint)


def _need_streams(module: Any) -> None:
    """Older releases make a stream at each call, such as 0.16.4; DeepSpeed's accelerator for the CPU has none."""
    from deepspeed.accelerator import get_accelerator

    accelerator = get_accelerator()
    if accelerator.Stream is not None or ".Stream(" not in inspect.getsource(module):
        return
    if not stand_in.IS_ON:
        raise NeedsGpuError("it makes streams, which DeepSpeed has none of on the CPU")
    type(accelerator).Stream = property(lambda self: lambda **settings: torch.cpu.Stream())
