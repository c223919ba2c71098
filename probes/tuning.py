"""How a job tunes the model: all of it, an adapter, or some layers; and in which precision."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from .models import Model, ModelUnavailableError, tower_parameters

RANK = 4
"""Of an adapter's matrices."""

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def apply(model: Model, setup: dict[str, Any]) -> Model:
    """Freeze what the job does not train, and add what it adds; PEFT does it where the job uses PEFT.

    Raises:
        ModelUnavailableError: The job needs PEFT, which is not installed, or names modules that the model does not have.
    """
    towers = {id(one) for one in tower_parameters(model.module)} if setup["frozen_towers"] else set()
    for parameter in model.module.parameters():
        if id(parameter) in towers:
            parameter.requires_grad_(False)
    if setup["tuning"] == "lora":
        missing = targets_missing(model, setup)
        if missing and len(missing) == len(setup["lora_targets"]):
            raise ModelUnavailableError(
                f"{model.name} has none of the job's LoRA targets ({', '.join(missing)}): give the job's own model, or its "
                "family, with --model"
            )
        return model._replace(module=_with_adapter(model.module, setup["lora_targets"], towers))
    if setup["tuning"] == "freeze":
        _freeze(model, setup["trainable_layers"])
    return model


def targets_missing(model: Model, setup: dict[str, Any]) -> list[str]:
    """LoRA targets that no module of the model answers to, by the ends of names as PEFT takes them."""
    names = [f".{name}" for name, _ in model.module.named_modules()]
    return [one for one in setup["lora_targets"] if not any(name.endswith(f".{one}") for name in names)]


def _with_adapter(module: torch.nn.Module, targets: list[str], towers: set[int]) -> torch.nn.Module:
    """The model with an adapter on the job's targets, but for modules with a parameter in the frozen towers."""
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise ModelUnavailableError(f"the job tunes an adapter, and PEFT cannot be imported: {error}") from error
    config = LoraConfig(
        r=RANK,
        lora_alpha=RANK,
        target_modules=_outside(module, targets, towers) if towers else list(targets) or "all-linear",
        init_lora_weights=False,
        task_type="CAUSAL_LM",
    )
    try:
        adapted: torch.nn.Module = get_peft_model(module, config)
    except ValueError as error:
        raise ModelUnavailableError(f"PEFT cannot adapt this model: {error}") from error
    return adapted.float()


def _outside(module: torch.nn.Module, targets: list[str], towers: set[int]) -> list[str]:
    """Full names of the modules outside of frozen towers that are targets; every linear layer but the head if none is named."""
    head = module.get_output_embeddings()
    return [
        name
        for name, one in module.named_modules()
        if isinstance(one, torch.nn.Linear)
        and one is not head
        and not any(id(parameter) in towers for parameter in one.parameters())
        and (not targets or any(f".{name}".endswith(f".{target}") for target in targets))
    ]


def _freeze(model: Model, trainable: int) -> None:
    layers = list(model.layers.values())
    count = max(1, min(abs(trainable), len(layers) - 1))
    kept = layers[-count:] if trainable > 0 else layers[:count]
    trained = {id(parameter) for layer in kept for parameter in layer.parameters()}
    for parameter in model.module.parameters():
        parameter.requires_grad_(id(parameter) in trained)


def base_of(module: torch.nn.Module) -> torch.nn.Module:
    """The model inside of an adapter, or itself."""
    inner = getattr(module, "get_base_model", None)
    return inner() if inner else module


def inputs_require_grad(module: torch.nn.Module) -> None:
    """What PEFT does with a model in which checkpointing is on already, and TRL in any case.

    The embeddings are frozen beside an adapter: without this, no input of a reentrant checkpoint requires a gradient. A plain
    Trainer does not do it before transformers 5.
    """
    if hasattr(module, "enable_input_require_grads"):
        module.enable_input_require_grads()


def precision_of(setup: dict[str, Any], device: str) -> str:
    """What can be had of the precision that the job asks for: the CPU has no use for fp16, and bf16 takes its place."""
    wanted = str(setup["precision"])
    return "bf16" if wanted == "fp16" and device == "cpu" else wanted


@contextlib.contextmanager
def arithmetic(precision: str, device: str, is_in_weights: bool) -> Iterator[None]:
    """Run forward passes in a precision: by autocast, unless the weights themselves are in it."""
    if precision == "fp32" or is_in_weights:
        yield
        return
    with torch.autocast(device, dtype=PRECISIONS[precision]):
        yield


@contextlib.contextmanager
def rounded(module: torch.nn.Module, precision: str) -> Iterator[None]:
    """Have the parameters in another precision for a time, as an engine with mixed precision has them in a step.

    Afterwards they are back in their own, with the rounded values. Buffers stay as they are.

    Args:
        module: Its parameters have no gradients, at the beginning and at the end.
        precision: Empty to leave them as they are.
    """
    own = {parameter: parameter.dtype for parameter in module.parameters() if precision}
    for parameter in own:
        parameter.data = parameter.data.to(PRECISIONS[precision])
    yield
    for parameter, dtype in own.items():
        parameter.data = parameter.data.to(dtype)
