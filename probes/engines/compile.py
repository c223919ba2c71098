"""The model compiled by torch.compile with its default backend, inductor."""

from __future__ import annotations

import torch

from . import Engine, EngineUnavailableError, Settings


def wrap(model: torch.nn.Module, layers: dict[str, torch.nn.Module], settings: Settings) -> Engine:
    """The compiled model.

    Raises:
        EngineUnavailableError: The machine has no compiler that inductor can use.
    """
    if why := _lacks_compiler(next(model.parameters()).device.type):
        raise EngineUnavailableError(why)
    return Engine(torch.compile(model))


def _lacks_compiler(device: str) -> str:
    """Why inductor cannot compile here; empty where it can."""
    if device == "cuda":
        from torch.utils._triton import has_triton

        return (
            ""
            if has_triton()
            else "torch.compile needs triton for this GPU, and it is not installed or does not support it"
        )
    try:
        from torch._inductor.cpp_builder import get_cpp_compiler

        get_cpp_compiler()
    except ImportError:  # an older torch names it otherwise
        return ""
    except Exception as error:
        return f"torch.compile needs a C++ compiler on the CPU: {str(error).strip().splitlines()[0]}"
    return ""
