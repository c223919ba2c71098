"""Variants of the usual step: what each changes in the configuration, the model and the batch."""

from __future__ import annotations

from typing import Any

import torch

from . import tiny_inputs

DROPOUT = 0.1
"""Share of attention weights that is dropped where dropout is tried."""

SHARED = 4
"""Layers where keys and values are shared: two layers of two kinds can share nothing."""


def layers(variant: str, usual: int, shared: int | None = None) -> int:
    """How many decoder layers a step needs, where others take ``usual``; ``shared`` is what ``sharing`` said."""
    return max(usual, SHARED) if variant == "shared-kv" or shared else usual


def sharing(config: Any) -> int | None:
    """How many layers of a whole configuration take keys and values from others; nothing where it has no such setting."""
    found = getattr(_text(config), "num_kv_shared_layers", None)
    return found if isinstance(found, int) else None


def configure(config: Any, variant: str, shared: int | None = None) -> str:
    """Change a tiny configuration in place; why it cannot be done, or nothing.

    Args:
        config: The tiny configuration.
        variant: The variant.
        shared: What ``sharing`` said of the whole one. Where its layers share, so do those of the usual step.
    """
    if variant == "dropout":
        if not hasattr(config, "attention_dropout"):
            return "has no dropout in attention"
        config.attention_dropout = DROPOUT
    if variant == "shared-kv" and (shared is None or shared > 0):
        return "has no layers that can share keys and values" if shared is None else "shares them in every step"
    if (variant == "shared-kv" or shared) and not _share(_text(config)):
        return "shares keys and values between layers, and does not when tiny"
    return ""


def _share(config: Any) -> bool:
    """Up to half of the layers take keys and values from earlier layers of the same kinds; whether any can."""
    count = config.num_hidden_layers
    kinds = list(getattr(config, "layer_types", None) or ["attention"] * count)
    for later in range(count // 2, 0, -1):
        if set(kinds[-later:]) <= set(kinds[:-later]):
            config.num_kv_shared_layers = later
            return True
    return False


def _text(config: Any) -> Any:
    return getattr(config, "text_config", None) or config


def freeze(module: torch.nn.Module, layers: list[torch.nn.Module], variant: str) -> None:
    """Freeze what a variant does not train: the input embeddings, and the first half of the layers."""
    if variant not in ("frozen", "prefix"):
        return
    frozen = [module.get_input_embeddings(), *(layers[: max(len(layers) // 2, 1)] if variant == "prefix" else [])]
    for part in frozen:
        part.requires_grad_(False)


def inputs(variant: str) -> dict[str, Any]:
    """The batch of a variant."""
    return tiny_inputs.packed() if variant == "packed" else tiny_inputs.padded()
