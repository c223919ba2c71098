"""The real ``deepspeed.initialize`` at a ZeRO stage."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from typing import Any

import torch

from ..deepspeed_on_cpus import wait_for_each_gather, without_shm_op
from . import Engine, Settings, process_group


def wrap(model: torch.nn.Module, layers: dict[str, torch.nn.Module], settings: Settings, stage: int) -> Engine:
    """The model in DeepSpeed's engine."""
    return DeepSpeedEngine(model, stage, settings)


class DeepSpeedEngine(Engine):
    """DeepSpeed's engine at a ZeRO stage, in each of the ranks."""

    def __init__(self, model: torch.nn.Module, stage: int, settings: Settings) -> None:
        deepspeed = import_deepspeed()
        process_group(settings.ranks)
        trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        engine, *_ = deepspeed.initialize(
            model=model, optimizer=torch.optim.SGD(trainable, lr=0.0), config=_config(stage, settings)
        )
        super().__init__(engine)
        self.sharded = stage > 0
        self.share = 1.0 / settings.micro_batches

    def backward(self, loss: torch.Tensor) -> None:
        """Backpropagate through the engine, which reduces gradients and moves them where the stage keeps them."""
        self.model.backward(loss)

    @contextlib.contextmanager
    def micro_batch(self, is_last: bool) -> Iterator[None]:
        """The engine counts the steps, and moves no weight before the last."""
        yield
        if not is_last:
            self.model.step()

    def step(self, rate: float) -> None:
        """Let the engine's own optimizer move the weights."""
        for group in self.model.optimizer.param_groups:
            group["lr"] = rate
        self.model.step()

    def gradient(self, parameter: torch.nn.Parameter) -> torch.Tensor | None:
        """The gradient gathered from wherever the stage keeps it."""
        if not self.sharded:
            return parameter.grad
        from deepspeed.utils import safe_get_full_grad

        gathered: torch.Tensor | None = safe_get_full_grad(parameter)
        return gathered


def import_deepspeed() -> Any:
    """DeepSpeed, told which accelerator there is before it guesses."""
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
        # How many processes there are here: ZeRO 3 otherwise counts NUMA nodes with a program, numactl, that few machines have.
        os.environ.setdefault("LOCAL_SIZE", os.environ.get("LOCAL_WORLD_SIZE", "1"))
    import deepspeed

    if not torch.cuda.is_available():
        without_shm_op(deepspeed.ops)
        wait_for_each_gather(deepspeed.comm)
    return deepspeed


def warm_up() -> None:
    """Import what every ``deepspeed.initialize`` with ZeRO imports late, so that each probe need not do it again."""
    import_deepspeed()
    with contextlib.suppress(ImportError):
        # Since 0.18 the optimizer check imports Muon, whose compiled functions import the whole of torch's inductor.
        import deepspeed.runtime.zero.muon.muon_optimizer  # noqa: F401


def _config(stage: int, settings: Settings) -> dict[str, Any]:
    """DeepSpeed's configuration: the job's, as far as it has one, made fit for a tiny step."""
    job = json.loads(settings.deepspeed) if settings.deepspeed else {}
    zero = {name: value for name, value in job.get("zero_optimization", {}).items() if value != "auto"}
    config = {name: value for name, value in job.items() if name in KEPT and value != "auto"}
    return {
        **config,
        "train_micro_batch_size_per_gpu": settings.batch,
        "gradient_accumulation_steps": settings.micro_batches,
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
