"""axolotl: its wrapper in the place of the function that transformers imported from torch."""

from __future__ import annotations

import functools
import importlib
from typing import Any

import torch

from .. import catalog
from ..functions import enable_torch, pass_to


def enable(module: Any, model: torch.nn.Module, name: str, reentrant: bool) -> None:
    """As axolotl's patch manager does."""
    function = getattr(module, catalog.FUNCTIONS[name]["needs"][0])
    if not hasattr(model, "_set_gradient_checkpointing"):
        pass_to(model, functools.partial(function, use_reentrant=reentrant))
        return
    import transformers.modeling_utils

    transformers.modeling_utils.checkpoint = function
    enable_torch(model, use_reentrant=reentrant)


DEFAULTS = {"context_parallel_size": 1, "base_model": "model"}
"""Settings that axolotl's schema fills in, and its patches compare."""


def load_whole() -> None:
    """Its patch manager."""
    importlib.import_module("axolotl.loaders.patch_manager")
    importlib.import_module("axolotl.utils.dict")


def before_model(arguments: dict[str, Any], config: Any) -> Any:
    """The patches that its patch manager applies before the model is loaded."""
    settings = {**DEFAULTS, **arguments, "model_config_type": config.model_type}
    given = importlib.import_module("axolotl.utils.dict").DictDefault(settings)
    manager = importlib.import_module("axolotl.loaders.patch_manager").PatchManager(given, config)
    manager.apply_pre_model_load_patches()
    return manager


def after_model(state: Any, arguments: dict[str, Any], model: torch.nn.Module) -> None:
    """Those that need the model."""
    for name in ("apply_post_model_build_patches", "apply_post_model_load_patches"):
        if hasattr(state, name):
            getattr(state, name)(model)
