"""What wraps the model for training."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
from typing import Any, NamedTuple

import torch

ENGINES = ("none", "partial", "zero0", "zero1", "zero2", "zero3")


class Settings(NamedTuple):
    """What an engine is set up with."""

    batch: int
    """Sequences in a batch, a rank."""
    precision: str = "fp32"
    deepspeed: str = ""
    """The job's own configuration of DeepSpeed, as JSON."""
    ranks: int = 1


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

    def __init__(self, model: torch.nn.Module, stage: int, settings: Settings) -> None:
        deepspeed = import_deepspeed()
        _process_group(settings.ranks)
        trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        engine, *_ = deepspeed.initialize(
            model=model, optimizer=torch.optim.SGD(trainable, lr=0.0), config=_config(stage, settings)
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


def averaged(
    gradients: dict[str, torch.Tensor | None], model: torch.nn.Module, ranks: int
) -> dict[str, torch.Tensor | None]:
    """What data parallelism makes of the gradients of several ranks: their mean, each rank having a batch of its own."""
    if ranks == 1:
        return gradients
    _process_group(ranks)
    shapes = dict(model.named_parameters())
    found: dict[str, torch.Tensor | None] = {}
    for name, gradient in gradients.items():
        total = torch.zeros_like(shapes[name], dtype=torch.float32) if gradient is None else gradient.clone()
        torch.distributed.all_reduce(total)
        found[name] = total / ranks if bool(total.any()) else None
    return found


def wrap(name: str, model: torch.nn.Module, layers: dict[str, torch.nn.Module], settings: Settings) -> Engine:
    """Wrap a model in the engine of that name, one of ``ENGINES``."""
    if name == "none":
        return Engine(model)
    if name == "partial":
        return PartialEngine(model, layers)
    return DeepSpeedEngine(model, int(name[len("zero") :]), settings)


def import_deepspeed() -> Any:
    """DeepSpeed, told which accelerator there is before it guesses."""
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
        # How many processes there are here: ZeRO 3 otherwise counts NUMA nodes with a program, numactl, that few machines have.
        os.environ.setdefault("LOCAL_SIZE", os.environ.get("LOCAL_WORLD_SIZE", "1"))
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


def _process_group(ranks: int) -> None:
    """The process group that torch's launcher has prepared, or one of this process alone, over a store in memory."""
    if sys.platform == "linux":
        # Gloo otherwise looks up the machine's own name, which fails on machines without a proper one.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    if torch.distributed.is_initialized():
        return
    nccl = torch.cuda.is_available() and torch.distributed.is_nccl_available()
    backend = "nccl" if nccl and torch.cuda.device_count() >= ranks else "gloo"
    if ranks > 1:
        torch.distributed.init_process_group(backend)
        return
    os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", MASTER_ADDR="127.0.0.1", MASTER_PORT="29500")
    torch.distributed.init_process_group(backend, store=torch.distributed.HashStore(), rank=0, world_size=1)


def _config(stage: int, settings: Settings) -> dict[str, Any]:
    """DeepSpeed's configuration: the job's, as far as it has one, made fit for a tiny step."""
    job = json.loads(settings.deepspeed) if settings.deepspeed else {}
    zero = {name: value for name, value in job.get("zero_optimization", {}).items() if value != "auto"}
    config = {name: value for name, value in job.items() if name in KEPT and value != "auto"}
    return {
        **config,
        "train_micro_batch_size_per_gpu": settings.batch,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 10**9,
        # A scaled loss would scale the gradients.
        **({"fp16": {"enabled": True, "loss_scale": 1.0}} if settings.precision == "fp16" else {}),
        **({"bf16": {"enabled": True}} if settings.precision == "bf16" else {}),
        "zero_optimization": {
            **zero,
            "stage": stage,
            "reduce_bucket_size": 10**6,
            "allgather_bucket_size": 10**6,
            "stage3_prefetch_bucket_size": 10**5,
            # The default leaves parameters under 100,000 elements whole: of a tiny model none would be partitioned.
            "stage3_param_persistence_threshold": 0,
        },
    }


KEPT = ("activation_checkpointing", "compile", "gradient_clipping", "prescale_gradients", "communication_data_type")
"""Sections of a job's configuration that a step may depend on, beside ZeRO's and the precision."""
