"""Conditions that a step is taken under: frozen parts, a cache, learned positions, a weight that is not a number."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Callable

import torch

from .. import models, tiny_glm4, tiny_inputs

if TYPE_CHECKING:
    from .side import Side


class _NoSuchPartError(Exception):
    """The model lacks the part that a condition changes."""


@contextlib.contextmanager
def as_it_is(side: Side) -> Iterator[None]:
    """Nothing is particular."""
    yield


@contextlib.contextmanager
def after_a_dropped_forward(side: Side) -> Iterator[None]:
    """A forward pass came before, and no backward pass followed it."""
    side.module(**side.more_inputs, **_small(side))
    side.insides.take()
    yield


def _small(side: Side) -> dict[str, Any]:
    inputs = tiny_inputs.padded(2, 8, 2)
    inputs = {key: value.to(side.device) for key, value in inputs.items()}
    return models.with_settings(models.OWN if isinstance(side.module, tiny_glm4.TinyGlm4ForCausalLM) else "", inputs)


@contextlib.contextmanager
def _frozen(side: Side, trained: Callable[[str], bool]) -> Iterator[None]:
    before = {name: one.requires_grad for name, one in side.module.named_parameters()}
    for name, one in side.module.named_parameters():
        one.requires_grad_(before[name] and trained(name))
    try:
        yield
    finally:
        for name, one in side.module.named_parameters():
            one.requires_grad_(before[name])


def first_layer_only(side: Side) -> Any:
    """Only the embeddings and the first layer are trained."""
    first = next(iter(side.model.layers))
    embeddings = {id(one) for one in side.module.get_input_embeddings().parameters()}
    own = {name for name, one in side.module.named_parameters() if id(one) in embeddings}
    return _frozen(side, lambda name: name in own or name.startswith(f"{first}."))


@contextlib.contextmanager
def frozen_embeddings(side: Side) -> Iterator[None]:
    """The embeddings are frozen, and their output requires a gradient."""
    embeddings = side.module.get_input_embeddings()
    hook = embeddings.register_forward_hook(lambda module, args, output: output.requires_grad_())
    try:
        with frozen_inputs(side):
            yield
    finally:
        hook.remove()


def frozen_inputs(side: Side) -> Any:
    """The embeddings are frozen."""
    embeddings = {id(one) for one in side.module.get_input_embeddings().parameters()}
    own = {name for name, one in side.module.named_parameters() if id(one) in embeddings}
    return _frozen(side, lambda name: name not in own)


@contextlib.contextmanager
def with_cache(side: Side) -> Iterator[None]:
    """The key-value cache is on."""
    side.more_inputs = {"use_cache": True}
    try:
        yield
    finally:
        side.more_inputs = {}


@contextlib.contextmanager
def trained_positions(side: Side) -> Iterator[None]:
    """Position embeddings are leaves of the graph and keep their gradients, as if they were learned."""
    leaves: list[torch.Tensor] = []

    def learn(output: Any) -> Any:
        made = tuple(one.detach().clone().requires_grad_() for one in output)
        leaves.extend(made)
        return made

    def look(index: int) -> Any:
        return leaves[index].grad if len(leaves) > index else None

    with contextlib.ExitStack() as stack:
        if isinstance(side.module, tiny_glm4.TinyGlm4ForCausalLM):
            original = tiny_glm4.rotary_embedding
            tiny_glm4.rotary_embedding = lambda *args: learn(original(*args))
            stack.callback(setattr, tiny_glm4, "rotary_embedding", original)
        else:
            for module in _rotary(side):
                hook = module.register_forward_hook(lambda module, args, output: learn(output))
                stack.callback(hook.remove)
        side.more_gradients = {f"position embeddings {index}": functools.partial(look, index) for index in (0, 1)}
        stack.callback(setattr, side, "more_gradients", {})
        yield


def _rotary(side: Side) -> list[torch.nn.Module]:
    found = [
        module
        for name, module in side.module.named_modules()
        if type(module).__name__.endswith("RotaryEmbedding")
        and not any(name.startswith(f"{layer}.") for layer in side.model.layers)
    ]
    if not found:
        raise _NoSuchPartError
    return found[:1]


@contextlib.contextmanager
def broken_weight(side: Side) -> Iterator[None]:
    """A weight in the middle of the model is not a number."""
    layers = list(side.model.layers.values())
    weight = next(layers[len(layers) // 2].parameters())
    kept = weight.detach().clone()
    with torch.no_grad():
        weight.view(-1)[0] = float("nan")
    try:
        yield
    finally:
        with torch.no_grad():
            weight.copy_(kept)
