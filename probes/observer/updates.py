"""Which steps of optimizers end a step of the job."""

from __future__ import annotations

import sys
from typing import Any

import torch


class Updates:
    """Tells the optimizer of the model that is watched from others, and counts steps before which nothing was seen."""

    def __init__(self) -> None:
        self.unseen = 0
        """Steps before which no layer was seen, or of optimizers that train none of the model's parameters."""
        self._parameters: set[int] = set()
        self._all = False
        self._has_optimizer = False

    def of(self, model: torch.nn.Module, engine: str) -> None:
        """Follow the optimizer of a model. DeepSpeed gives its own copies of the parameters: there any is the model's."""
        self._parameters = {id(parameter) for parameter in model.parameters()}
        self._all = engine.startswith("zero")

    def trains_model(self, optimizer: Any) -> bool:
        """Whether an optimizer trains parameters of the model."""
        found = self._all or any(
            id(one) in self._parameters for group in optimizer.param_groups for one in group["params"]
        )
        self._has_optimizer = self._has_optimizer or found
        return found

    def ends_step(self, optimizer: Any) -> bool:
        """Whether a step of an optimizer, after layers ran, is one of the model.

        Some optimizers have copies of the parameters. Where there are none but such ones, the second step counts.
        """
        if self.trains_model(optimizer):
            return True
        self.unseen += 1
        return not self._has_optimizer and self.unseen > 1

    def why_unseen(self, has_model: bool) -> str:
        """Why no step was observed; empty where none was made."""
        counters = getattr(sys.modules.get("torch._dynamo.utils"), "counters", {})
        if counters.get("stats", {}).get("unique_graphs") and (self.unseen or not has_model):
            return "no layer ran outside of compiled code"
        if not self.unseen:
            return ""
        if not has_model:
            return "no list of layers is in what the job trains"
        is_graph = torch.cuda.is_initialized()
        return "no layer ran outside of CUDA graphs" if is_graph else "no part of a layer was called as a module"
