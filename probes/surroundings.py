"""What a training step must leave as it was: modes, random numbers, frozen parameters, values."""

from __future__ import annotations

import random
import sys
import threading
from typing import Any

import torch

SEED = 20


def take(module: torch.nn.Module) -> dict[str, Any]:
    """All that a checkpoint function has no business with, by name in words."""
    parameters = list(module.named_parameters())
    return {
        "the grad mode": torch.is_grad_enabled(),
        "the default dtype": torch.get_default_dtype(),
        "the default device": torch.get_default_device() if hasattr(torch, "get_default_device") else None,
        "anomaly mode": torch.is_anomaly_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "autocast": _autocast(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "the number of threads": torch.get_num_threads(),
        "the precision of matrix products": torch.get_float32_matmul_precision(),
        "hooks on saved tensors": _saved_tensors_hooks(),
        "train or eval mode": [one.training for one in module.modules()],
        "which parameters are frozen": [one.requires_grad for _, one in parameters],
        "the dtype of parameters": [one.dtype for _, one in parameters],
        "the device of parameters": [one.device for _, one in parameters],
        "the values of parameters or buffers": _Values(module),
        "hooks on modules": _hooks(module),
        **randomness(),
    }


def randomness() -> dict[str, Any]:
    """The states of random number generators, by name in words."""
    return {
        "torch's random state": _Random(),
        "Python's random state": hash(random.getstate()),
        "numpy's random state": _of_numpy(),
    }


def seed_torch(seed: int) -> None:
    """Set torch's random number generators to a state.

    Without a GPU, only the CPU's: for generators that do not exist yet, ``torch.manual_seed`` formats stack traces.
    """
    if torch.cuda.is_available():
        torch.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


def seed() -> None:
    """Set all random number generators to one state, so that what a step draws can be compared."""
    seed_torch(SEED)
    random.seed(SEED)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(SEED)


def changed(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """The names of what is no longer as it was."""
    return [name for name, value in before.items() if name in after and value != after[name]]


class _Values:
    """Copies of a module's parameters and buffers: a change through ``data`` leaves no trace in their version counters."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.kept = [one.detach().clone() for one in (*module.parameters(), *module.buffers())]

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, _Values) and len(self.kept) == len(other.kept) and all(map(_same, self.kept, other.kept))
        )

    __hash__ = None  # type: ignore[assignment]


def _same(one: torch.Tensor, another: torch.Tensor) -> bool:
    if one.shape != another.shape or one.dtype != another.dtype or one.device != another.device:
        return False
    return torch.equal(one, another) or bool(((one == another) | (one.isnan() & another.isnan())).all())


class _Random:
    """The state of torch's generators."""

    def __init__(self) -> None:
        self.states = [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [])]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Random) and all(map(torch.equal, self.states, other.states))

    __hash__ = None  # type: ignore[assignment]


def _autocast() -> tuple[Any, ...]:
    if threading.current_thread() is not threading.main_thread():
        return ()
    on_gpu = torch.is_autocast_enabled() if torch.cuda.is_available() else False
    return (on_gpu, torch.is_autocast_cpu_enabled(), torch.get_autocast_cpu_dtype())


def _saved_tensors_hooks() -> bool:
    top = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)
    try:
        return top is not None and top(False) is not None
    except TypeError:
        return False


def _hooks(module: torch.nn.Module) -> int:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(one, kind, ())) for one in module.modules() for kind in kinds)


def _of_numpy() -> int:
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return 0
    state = numpy.random.get_state()
    return hash((state[1].tobytes(), state[2]))
