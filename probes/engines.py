"""What wraps the model for training."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from typing import Any

import torch

ENGINES = ("none", "partial", "zero0", "zero1", "zero2", "zero3")


class Engine:
    """No engine: the model itself."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.model = model

    def forward(self, inputs: dict[str, Any]) -> Any:
        """The model's output for a batch, with its loss."""
        return self.model(**inputs)

    def backward(self, loss: torch.Tensor) -> None:
        """Backpropagate a scalar loss."""
        loss.backward()

    def gradient(self, parameter: torch.nn.Parameter) -> torch.Tensor | None:
        """The whole gradient of a parameter, in its own shape."""
        return parameter.grad


class PartialEngine(Engine):
    """What public write-ups say that DeepSpeed does: every layer's forward is wrapped in a ``functools.partial``.

    It serves where DeepSpeed is not installed, and shows whether such wrapping would matter.
    """

    def __init__(self, model: torch.nn.Module, layers: dict[str, torch.nn.Module]) -> None:
        super().__init__(model)
        for layer in layers.values():
            layer.forward = functools.partial(layer.forward)


class DeepSpeedEngine(Engine):
    """The real ``deepspeed.initialize`` at a ZeRO stage, in one process."""

    def __init__(self, model: torch.nn.Module, stage: int, batch: int) -> None:
        deepspeed = import_deepspeed()
        _one_process_group()
        trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        engine, *_ = deepspeed.initialize(
            model=model, optimizer=torch.optim.SGD(trainable, lr=0.0), config=_config(stage, batch)
        )
        super().__init__(engine)
        self.sharded = stage > 0

    def backward(self, loss: torch.Tensor) -> None:
        """Backpropagate through the engine, which reduces gradients and moves them where the stage keeps them."""
        self.model.backward(loss)

    def gradient(self, parameter: torch.nn.Parameter) -> torch.Tensor | None:
        """The gradient gathered from wherever the stage keeps it."""
        if not self.sharded:
            return parameter.grad
        from deepspeed.utils import safe_get_full_grad

        gathered: torch.Tensor | None = safe_get_full_grad(parameter)
        return gathered


def wrap(name: str, model: torch.nn.Module, layers: dict[str, torch.nn.Module], batch: int) -> Engine:
    """Wrap a model in the engine of that name, one of ``ENGINES``."""
    if name == "none":
        return Engine(model)
    if name == "partial":
        return PartialEngine(model, layers)
    return DeepSpeedEngine(model, int(name[len("zero") :]), batch)


def import_deepspeed() -> Any:
    """DeepSpeed, told which accelerator there is before it guesses."""
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    import deepspeed

    _do_without_shm_op(deepspeed)
    return deepspeed


def warm_up() -> None:
    """Import what every ``deepspeed.initialize`` with ZeRO imports late, so that each probe need not do it again."""
    import_deepspeed()
    with contextlib.suppress(ImportError):
        # Since 0.18 the optimizer check imports Muon, whose compiled functions import the whole of torch's inductor.
        import deepspeed.runtime.zero.muon.muon_optimizer  # noqa: F401


def _do_without_shm_op(deepspeed: Any) -> None:
    """Leave out the C++ op for shared memory between ranks, which takes half a minute and a compiler to build.

    DeepSpeed falls back on torch.distributed where the op is not compatible, and with one rank it has nothing to do.
    """
    operations = getattr(deepspeed.ops, "__compatible_ops__", {})
    if not torch.cuda.is_available() and "deepspeed_shm_comm" in operations:
        operations["deepspeed_shm_comm"] = False


def _one_process_group() -> None:
    """A process group of one, over a store in memory: it takes no port."""
    os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", MASTER_ADDR="127.0.0.1", MASTER_PORT="29500")
    if sys.platform == "linux":
        # Gloo otherwise looks up the machine's own name, which fails on machines without a proper one.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    if torch.distributed.is_initialized():
        return
    nccl = torch.cuda.is_available() and torch.distributed.is_nccl_available()
    torch.distributed.init_process_group(
        "nccl" if nccl else "gloo", store=torch.distributed.HashStore(), rank=0, world_size=1
    )


def _config(stage: int, batch: int) -> dict[str, Any]:
    return {
        "train_micro_batch_size_per_gpu": batch,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 10**9,
        "zero_optimization": {
            "stage": stage,
            "reduce_bucket_size": 10**6,
            "allgather_bucket_size": 10**6,
            "stage3_prefetch_bucket_size": 10**5,
            # The default leaves parameters under 100,000 elements whole: of a tiny model none would be partitioned.
            "stage3_param_persistence_threshold": 0,
        },
    }
