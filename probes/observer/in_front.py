"""Functions that stand in front of torch's and Python's own while a job is observed, and how they are taken away again."""

from __future__ import annotations

import functools
import sys
from typing import Any, Callable

import torch

Restore = Callable[[], None]
"""Takes a function away again. Where somebody else stands in front of it by then, it stays, and only passes calls on."""


def of_calls(note: Callable[[torch.nn.Module], None]) -> Restore:
    """Tell ``note`` of each call of a module, before it runs.

    A global hook would do the same, but torch warns of those under torch.compile, and a job may take warnings for errors.
    """
    original = torch.nn.Module.__call__
    is_compiling = _is_compiling()
    told = [note]

    @functools.wraps(original)
    def call(self: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        # torch.compile knows the answer while it reads this, and leaves out the rest.
        if not is_compiling() and told:
            told[0](self)
        return original(self, *args, **kwargs)

    def restore() -> None:
        told.clear()
        if torch.nn.Module.__call__ is call:
            torch.nn.Module.__call__ = original
        for name in ("torch._dynamo.utils", "torch._dynamo.variables.nn_module"):
            # What was imported meanwhile takes ours for torch's own, and would go a longer way for good.
            module = sys.modules.get(name)
            if getattr(module, "unpatched_nn_module_call", None) is call:
                module.unpatched_nn_module_call = original  # type: ignore[union-attr]

    torch.nn.Module.__call__ = call
    return restore


def _is_compiling() -> Callable[[], bool]:
    found = getattr(getattr(torch, "compiler", None), "is_compiling", None)
    return found if found is not None else (lambda: False)


def of_backward(began: Callable[[], None], failed: Callable[[Exception], None]) -> Restore:
    """Tell of each call of backward and of an error in it: not every job lets one through to its end."""
    original = torch.autograd.backward
    is_compiling = _is_compiling()
    told = [(began, failed)]

    @functools.wraps(original)
    def backward(*args: Any, **kwargs: Any) -> Any:
        if is_compiling() or not told:
            return original(*args, **kwargs)
        told[0][0]()
        try:
            return original(*args, **kwargs)
        except Exception as error:
            if told:
                told[0][1](error)
            raise

    def restore() -> None:
        told.clear()
        if torch.autograd.backward is backward:
            torch.autograd.backward = original

    torch.autograd.backward = backward
    return restore


def of_the_end(raised: Callable[[BaseException], None]) -> Restore:
    """Tell of an error that ends the program."""
    previous = sys.excepthook
    told = [raised]

    def hook(kind: Any, error: BaseException, trace: Any) -> None:
        if told:
            told[0](error)
        previous(kind, error, trace)

    def restore() -> None:
        told.clear()
        if sys.excepthook is hook:
            sys.excepthook = previous

    sys.excepthook = hook
    return restore
