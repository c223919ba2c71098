"""Which parameters got a gradient: looked up where the optimizer is about to use it."""

from __future__ import annotations

import functools
from typing import Any

import torch

from .. import wrapper


class Arriving:
    """Looks at the gradients of a model's parameters, once in each optimizer step.

    DeepSpeed takes gradients out of the parameters as they arrive: there, hooks of the parameters tell.
    """

    def __init__(self, inner: torch.nn.Module, in_hooks: bool) -> None:
        self._parameters = {
            wrapper.plain_name(name): one for name, one in inner.named_parameters() if one.requires_grad
        }
        self._arrived: set[str] = set()
        self._in_hooks = in_hooks
        self.handles: list[Any] = []
        for name, one in self._parameters.items() if in_hooks else ():
            self.handles.append(one.register_hook(functools.partial(self._note, name)))

    def _note(self, name: str, gradient: torch.Tensor) -> None:
        self._arrived.add(name)

    def look(self) -> tuple[list[str], list[str]]:
        """Names of the parameters without a gradient, and of those whose gradient is not finite.

        A parameter of which this rank holds no part is in neither.
        """
        if self._in_hooks:
            missing = [name for name in self._parameters if name not in self._arrived]
            self._arrived.clear()
            return missing, []
        missing, there = [], {}
        for name, parameter in self._parameters.items():
            held = _local(parameter)
            if held.numel() == 0:
                continue
            if parameter.grad is None:
                missing.append(name)
            else:
                there[name] = _local(parameter.grad)
        return missing, _not_finite(there)

    def close(self) -> None:
        """Take the hooks out."""
        self._parameters.clear()
        for handle in self.handles:
            handle.remove()
        self.handles.clear()


def _local(tensor: Any) -> torch.Tensor:
    """Of a sharded tensor, this rank's part."""
    local: torch.Tensor = getattr(tensor, "_local_tensor", tensor)
    return local


def _not_finite(gradients: dict[str, torch.Tensor]) -> list[str]:
    """Names of those in which something is NaN or infinite; the device is waited for once."""
    groups: dict[tuple[str, torch.dtype], list[str]] = {}
    for name, one in gradients.items():
        if one.is_floating_point() and not one.is_sparse and one.numel():
            groups.setdefault((str(one.device), one.dtype), []).append(name)
    found: list[str] = []
    for (_, dtype), names in groups.items():
        held = [gradients[name].detach() for name in names]
        # Half precision has no room for a norm. The norm 2 is the quickest, and large numbers may be too large for it.
        norms = torch._foreach_norm([one.float() for one in held] if dtype == torch.float16 else held, 2)
        finite = torch.stack([one.isfinite() for one in norms]).tolist()
        found += [
            name for name, one, is_finite in zip(names, held, finite) if not is_finite and not one.isfinite().all()
        ]
    return found
