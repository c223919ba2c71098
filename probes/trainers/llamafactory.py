"""LLaMA-Factory: its method in the place of the model's own that switches checkpointing on."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import os
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from ..functions import FunctionUnavailableError, pass_to


class ModelArguments:
    """Those of LLaMA-Factory's that its preparation of a model reads: whatever is not given is off."""

    def __init__(self, **given: Any) -> None:
        vars(self).update(given)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return False


def enable(module: Any, model: torch.nn.Module, name: str, reentrant: bool) -> None:
    """By its own ``prepare_model_for_training``, which replaces the model's method and calls it."""
    is_unsloth = name == "llamafactory:unsloth"
    if hasattr(model, "_set_gradient_checkpointing"):
        module.prepare_model_for_training(model, ModelArguments(use_unsloth_gc=is_unsloth, use_reentrant_gc=reentrant))
        return
    if not hasattr(module, "get_custom_gradient_checkpointing_func"):
        raise FunctionUnavailableError("this LLaMA-Factory makes its function for models of transformers only")
    inner = module.get_unsloth_gradient_checkpointing_func() if is_unsloth else None
    inner = inner or functools.partial(checkpoint, use_reentrant=reentrant)
    pass_to(model, module.get_custom_gradient_checkpointing_func(inner))


def load_whole() -> None:
    """Its patcher and what that imports, and its arguments.

    A job on a release of transformers that LLaMA-Factory does not allow starts only with this variable.
    """
    os.environ.setdefault("DISABLE_VERSION_CHECK", "1")
    importlib.import_module("llamafactory.model.patcher")
    importlib.import_module("llamafactory.hparams")


def before_model(arguments: dict[str, Any], config: Any) -> Any:
    """What ``load_model`` does before the model is made: its patches by the configuration."""
    known = importlib.import_module("llamafactory.hparams").ModelArguments
    names = {one.name for one in dataclasses.fields(known)}
    given = known(model_name_or_path="model", **{name: value for name, value in arguments.items() if name in names})
    importlib.import_module("llamafactory.model.patcher").patch_config(config, None, given, {}, True)
    given.disable_gradient_checkpointing = True  # it is switched on later, by `enable`
    return given


def after_model(state: Any, arguments: dict[str, Any], model: torch.nn.Module) -> None:
    """Its ``patch_model``."""
    if not model.config.architectures:
        model.config.architectures = [type(model).__name__]
    importlib.import_module("llamafactory.model.patcher").patch_model(model, None, state, True, False)
