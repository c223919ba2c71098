"""A few numbers of a tensor, and random states: what two runs of a layer are compared by."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import torch

MOST_ROWS = 2048
"""Rows of which a number is kept: in a batch of text, tokens."""

TOLERANCE = {torch.bfloat16: 0.06, torch.float16: 0.02}
"""Differences that rounding explains in two runs of the same code, relative to the largest value that is kept: kernels that
add in another order. What another dropout mask or another expert changes is of the size of the values."""

USUAL_TOLERANCE = 2e-3
"""For float32, which may be computed as TF32, and float64."""

_INDEXES = (torch.int64, torch.int32)

Shape = tuple[torch.dtype, torch.Size]
"""What is known of a tensor without a look at its numbers."""


def tensors_in(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[torch.Tensor]:
    """The tensors among arguments, and in tuples and lists of them."""
    found: list[torch.Tensor] = []
    for one in (*args, *kwargs.values()):
        if isinstance(one, torch.Tensor):
            found.append(one)
        elif isinstance(one, (tuple, list)):
            found += [part for part in one if isinstance(part, torch.Tensor)]
    return found


def words(shape: Shape | None) -> str:
    """A tensor's sizes and type: ``[2, 8, 32] float32``."""
    return "" if shape is None else f"{list(shape[1])} {str(shape[0]).rpartition('.')[2]}"


def indexes(args: tuple[Any, ...]) -> list[torch.Tensor]:
    """Whole numbers among arguments, such as the experts that tokens go to."""
    return [one for one in args if isinstance(one, torch.Tensor) and one.dtype in _INDEXES]


def take(tensor: torch.Tensor) -> torch.Tensor | None:
    """Up to three numbers of each of at most ``MOST_ROWS`` rows, copied on the tensor's device; nothing where there are none.

    Another dropout mask changes some of them, and so does another expert for a token, or another way through a layer. One
    column would be blind to a tensor of which it is all zeros, as a mask is.

    Args:
        tensor: ``[..., features]``.
    """
    local = getattr(tensor, "_local_tensor", tensor)  # of a sharded one, this rank's part
    if type(local) not in (torch.Tensor, torch.nn.Parameter) or local.layout is not torch.strided or local.is_meta:
        return None
    if local.dim() == 0 or not local.numel():
        return None
    local = local.detach()
    width = local.shape[-1]
    count = local.numel() // width
    step, middle = max(1, count // MOST_ROWS), max(1, (width - 1) // 2)
    if local.is_contiguous():
        sizes = (-(-count // step), min(3, width))
        return local.as_strided(sizes, (step * width, middle), local.storage_offset()).clone()
    return local.reshape(-1, width)[::step, : 2 * middle + 1 : middle].clone()


def differ(pairs: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
    """Whether samples of the same sizes, type and device differ by more than rounding; not yet waited for.

    Returns:
        One boolean for each pair, on their device.
    """
    first = torch.stack([one for one, _ in pairs]).flatten(1)
    second = torch.stack([other for _, other in pairs]).flatten(1)
    if not first.is_floating_point():
        return (first != second).any(1)
    tolerance = TOLERANCE.get(first.dtype, USUAL_TOLERANCE)
    first, second = first.float(), second.float()
    largest = first.nan_to_num(0.0, 0.0, 0.0).abs().amax(1, keepdim=True)
    # Equal ones may both be infinite, or no numbers.
    same = (first == second) | (first.isnan() & second.isnan())
    return (~same & ~((first - second).abs() <= tolerance * largest)).any(1)


def random_state(devices: Sequence[int]) -> tuple[int, ...]:
    """What tells random states apart: of the CPU's generator, and of the GPUs' that are in use."""
    state = torch.default_generator.get_state()
    found = [hash(ctypes.string_at(state.data_ptr(), state.numel()))]
    if devices and torch.cuda.is_initialized():
        for index in devices:
            held = torch.cuda.default_generators[index].get_state()
            found.append(hash(ctypes.string_at(held.data_ptr(), held.numel())))
    return tuple(found)


def is_backward() -> bool:
    """Whether autograd runs a backward pass in this thread: what runs now, runs again."""
    return bool(torch._C._current_graph_task_id() != -1)


def is_out_of_reach() -> bool:
    """Whether what runs now is compiled, traced or recorded as a CUDA graph: hooks must do nothing then."""
    compiler = getattr(torch, "compiler", None)
    if compiler is not None and hasattr(compiler, "is_compiling") and compiler.is_compiling():
        return True
    if torch._C._get_tracing_state() is not None:
        return True
    return bool(torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing())


def is_recorded() -> bool:
    """Whether some mode sees every operation, as selective checkpointing does: then none may be added."""
    operations = getattr(torch._C, "_len_torch_dispatch_stack", None)
    if operations is not None and operations():
        return True
    functions = getattr(torch._C, "_len_torch_function_stack", None)
    if functions is not None and functions():
        held = (torch._C._get_function_stack_at(index) for index in range(functions()))
        return any(type(mode).__name__ != "DeviceContext" for mode in held)  # that one only says where tensors are made
    transforms = getattr(torch._C, "_functorch", None)
    return transforms is not None and transforms.peek_interpreter_stack() is not None
