"""The layers of a model that checkpointing is about."""

from __future__ import annotations

import torch


def layers_of(module: torch.nn.Module) -> dict[str, torch.nn.Module]:
    """The layers that checkpointing is about: members of the outermost lists of like modules.

    Where some lists are made for checkpointing, in the decoder or in a tower for images or sound, only these count, and the
    decoder's own: others are checkpointed by nobody, such as Mllama's tower from transformers 4.52 on.
    """
    named = dict(module.named_modules())
    lists = {name: one for name, one in named.items() if isinstance(one, torch.nn.ModuleList) and len(one) > 1}
    themselves = {name for name, one in lists.items() if all(map(checkpoints_itself, one))}
    taken = {_owner(name) for name in themselves}
    by_owner = {
        name for name in lists if _owner(name) not in taken and hasattr(named[_owner(name)], "gradient_checkpointing")
    }
    if themselves:
        inner = decoder(module)
        by_owner = {name for name in by_owner if inner is not None and named[_owner(name)] is inner}
    layers: dict[str, torch.nn.Module] = {}
    for name, one in lists.items():
        inside = any(name.startswith(f"{layer}.") for layer in layers)
        if not inside and name in (themselves | by_owner or lists):
            layers.update({f"{name}.{index}": layer for index, layer in enumerate(one)})
    return layers


def _owner(name: str) -> str:
    return name.rpartition(".")[0]


def decoder(module: torch.nn.Module) -> torch.nn.Module | None:
    """The language model's layers with what is around them, by transformers' own method; nothing where it has none."""
    found = module.get_decoder() if hasattr(module, "get_decoder") else None
    return found if isinstance(found, torch.nn.Module) else None


def checkpoints_itself(layer: torch.nn.Module) -> bool:
    """Whether a layer is of transformers' class for layers that are checkpointed, or of what a trainer put in its place."""
    return any(kind.__name__ == "GradientCheckpointingLayer" for kind in type(layer).__mro__)
