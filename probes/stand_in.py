"""A GPU that is simulated on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

IS_ON = False
"""Whether a GPU is simulated now."""


@contextmanager
def cpu_for_cuda() -> Iterator[None]:
    """Have tensors that are sent to CUDA stay where they are.

    Offloading checkpoint functions move tensors to the CPU and back; what they compute in between does not depend on where.
    The moves themselves are not judged this way.
    """
    global IS_ON
    original = torch.Tensor.to

    def to(self: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        at_home = [self.device if _is_cuda(argument) else argument for argument in args]
        return original(self, *at_home, **{name: self.device if _is_cuda(one) else one for name, one in kwargs.items()})

    IS_ON = True
    torch.Tensor.to = to
    torch.Tensor.cuda = lambda self, *args, **kwargs: self
    try:
        yield
    finally:
        IS_ON = False
        del torch.Tensor.to, torch.Tensor.cuda


def _is_cuda(argument: Any) -> bool:
    return isinstance(argument, (str, torch.device)) and str(argument).startswith("cuda")
