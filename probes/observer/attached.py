"""All that is put into the model while it is watched."""

from __future__ import annotations

from types import CodeType
from typing import Any, Callable

import torch

from . import jobs_model, passed
from .arriving import Arriving
from .jobs_model import JobsModel
from .passes import Passes
from .runs import Layers, Run


class Attached:
    """The hooks on a model, on its layers and on its parameters."""

    def __init__(
        self,
        model: JobsModel,
        engine: str,
        passes: Passes,
        began: Callable[..., None],
        ended: Callable[..., None],
        failed: Callable[[Exception], None],
    ) -> None:
        """Put the hooks in.

        Args:
            model: The model.
            engine: What wraps it.
            passes: The job's forward passes.
            began: A hook for the beginning of the model's forward pass.
            ended: A hook for its end, be it an error.
            failed: Told of an error of ours in one of the other hooks.
        """
        self.model = model
        self.passed: list[passed.Passed] = []
        """What layers are passed as."""
        self.codes: dict[CodeType, str] = {}
        """The code of each checkpoint function that modules were given, with its name."""
        self._kinds: set[str] = set()
        for function in jobs_model.functions(model):
            code = passed.codes_of(jobs_model.innermost(function))
            if code is not None:
                self.codes[code] = jobs_model.name_of(function)
        self.layers = Layers(model.layers, passes, self._began, failed)
        self.arriving = Arriving(model.inner, in_hooks=engine.startswith("zero"))
        self._handles = [model.root.register_forward_pre_hook(began), _always(model.root, ended)]

    def _began(self, run: Run) -> None:
        """Note what a layer is passed as. Layers of one class are passed alike: one is looked at in full."""
        if run.is_again:
            return
        kind = self.model.types[run.layer]
        if kind in self._kinds:
            run.is_under = passed.is_inside(self.codes)
            return
        found = passed.find(self.codes)
        if found is not None:
            self._kinds.add(kind)
            self.passed.append(found)
            run.is_under = True

    def close(self) -> None:
        """Take all hooks out."""
        self.layers.close()
        self.arriving.close()
        for handle in self._handles:
            handle.remove()


def _always(module: torch.nn.Module, hook: Any) -> Any:
    """Register a hook that is also called when the forward pass raises an error, where this torch can do so."""
    try:
        return module.register_forward_hook(hook, always_call=True)
    except TypeError:
        return module.register_forward_hook(hook)
