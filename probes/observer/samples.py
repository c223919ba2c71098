"""A few numbers of a tensor, and random states: what two runs of a layer are compared by."""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

import torch

MOST_ROWS = 2048
"""Rows of which a number is kept: in a batch of text, tokens."""

TOLERANCE = {torch.bfloat16: 0.06, torch.float16: 0.02}
"""Differences that rounding explains in two runs of the same code, relative to the largest value that is kept: kernels that
add in another order. What another dropout mask or another expert changes is of the size of the values."""

USUAL_TOLERANCE = 2e-3
"""For float32, which may be computed as TF32, and float64."""


class Shape(NamedTuple):
    """What is known of a tensor without a look at its numbers."""

    dtype: str
    sizes: tuple[int, ...]

    def __str__(self) -> str:
        return f"{list(self.sizes)} {self.dtype}"


def tensors_in(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """The tensors among arguments, and in tuples and lists of them."""
    found: list[Any] = []
    for one in (*args, *kwargs.values()):
        if isinstance(one, torch.Tensor):
            found.append(one)
        elif isinstance(one, (tuple, list)):
            found += [part for part in one if isinstance(part, torch.Tensor)]
    return found


def shape(tensor: torch.Tensor) -> Shape:
    """Its type and its sizes."""
    return Shape(str(tensor.dtype).rpartition(".")[2], tuple(tensor.shape))


def take(tensor: torch.Tensor) -> torch.Tensor | None:
    """One number of each of at most ``MOST_ROWS`` rows, copied on the tensor's device; nothing where that cannot be had.

    Another dropout mask changes some of them, and so does another expert for a token, or another way through a layer.

    Args:
        tensor: ``[..., features]`` of floating point numbers.
    """
    local = getattr(tensor, "_local_tensor", tensor)  # of a sharded one, this rank's part
    if type(local) not in (torch.Tensor, torch.nn.Parameter) or not local.is_floating_point() or not local.numel():
        return None
    if local.is_meta or local.is_sparse or local.dim() == 0:
        return None
    rows = local.detach().reshape(-1, local.shape[-1])
    step = max(1, rows.shape[0] // MOST_ROWS)
    # One column would be blind to a tensor of which it is all zeros, as a mask is.
    return torch.cat([rows[::step, 0], rows[::step, -1], rows[::step, rows.shape[1] // 2]])


def differs(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Whether two samples differ by more than rounding: one boolean on their device, not yet waited for."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return torch.ones((), dtype=torch.bool, device=one.device)
    tolerance = TOLERANCE.get(one.dtype, USUAL_TOLERANCE)
    first, second = one.float(), other.float()
    same = (first == second) | (first.isnan() & second.isnan())
    finite = torch.where(first.isfinite(), first.abs(), torch.zeros_like(first))
    return (~same & ~((first - second).abs() <= tolerance * finite.max())).any()


def random_state(devices: set[int]) -> tuple[Any, ...]:
    """What tells random states apart: of the CPU's generator, and of the GPUs' that are in use."""
    states = [torch.default_generator.get_state()]
    if devices and torch.cuda.is_initialized():
        states += [torch.cuda.default_generators[index].get_state() for index in sorted(devices)]
    return tuple(hash(ctypes.string_at(state.data_ptr(), state.numel())) for state in states)


def is_backward() -> bool:
    """Whether autograd runs a backward pass in this thread: what runs now, runs again."""
    return bool(torch._C._current_graph_task_id() != -1)


def is_out_of_reach() -> bool:
    """Whether what runs now is compiled, or recorded as a CUDA graph: hooks must do nothing then."""
    compiler = getattr(torch, "compiler", None)
    if compiler is not None and hasattr(compiler, "is_compiling") and compiler.is_compiling():
        return True
    return bool(torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing())


def is_recorded() -> bool:
    """Whether some mode sees every operation, as selective checkpointing does: then none may be added."""
    count = getattr(torch._C, "_len_torch_dispatch_stack", None)
    functions = getattr(torch._C, "_len_torch_function_stack", None)
    return bool((count is not None and count()) or (functions is not None and functions()))
