"""What DeepSpeed does on CPUs alone, and not in the job on GPUs that a probe or a rehearsal stands for."""

from __future__ import annotations

import functools
from typing import Any


def without_shm_op(operations: Any) -> None:
    """Leave out the C++ op for shared memory between ranks, which takes half a minute and more and a compiler to build.

    DeepSpeed falls back on torch.distributed where the op is not compatible, and with one rank it has nothing to do.

    Args:
        operations: The module ``deepspeed.ops``.
    """
    compatible = getattr(operations, "__compatible_ops__", {})
    if "deepspeed_shm_comm" in compatible:
        compatible["deepspeed_shm_comm"] = False


def wait_for_each_gather(communication: Any) -> None:
    """Have ZeRO 3 wait for each gathered parameter.

    Before 0.19.8 it starts one gather for each and waits for the last alone
    (``runtime/zero/partition_parameters.py``, ``_allgather_params_coalesced``; pull request 8539). The streams of GPUs keep
    their order. Gloo's threads do not: weights are then what the memory held before, and gradients NaN or wrong.

    Args:
        communication: The module ``deepspeed.comm``.
    """
    gather = getattr(communication, "all_gather_into_tensor", None)
    if gather is None or getattr(gather, "waits", False):
        return

    @functools.wraps(gather)
    def gather_and_wait(*args: Any, **kwargs: Any) -> Any:
        handle = gather(*args, **kwargs)
        if handle is not None:
            handle.wait()
        return handle

    gather_and_wait.waits = True  # type: ignore[attr-defined]
    communication.all_gather_into_tensor = gather_and_wait
