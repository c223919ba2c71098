"""The ways in which a model can pass a decoder layer to its checkpoint function.

A checkpoint function that looks inside the callable it is given (for ``__self__``, say) works with some of them and
fails with others. Each convention builds its callable on the very line that passes it on.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from functools import partial, update_wrapper
from typing import Any

import torch
from torch import nn

Checkpoint = Callable[..., Any]
"""``checkpoint(function, *inputs)`` runs ``function(*inputs)`` and returns what it returned."""

Convention = Callable[[nn.Module, torch.Tensor, "dict[str, Any]", Checkpoint], Any]
"""Given a layer, its input [B, T, C] and its keywords in the order of its signature, calls the checkpoint function."""


def bound_method(
    layer: nn.Module, hidden_states: torch.Tensor, keywords: dict[str, Any], checkpoint: Checkpoint
) -> Any:
    """Passes ``layer.__call__`` with everything positional."""
    return checkpoint(layer.__call__, hidden_states, *keywords.values())


def partial_bound(
    layer: nn.Module, hidden_states: torch.Tensor, keywords: dict[str, Any], checkpoint: Checkpoint
) -> Any:
    """Passes ``partial(layer.__call__, **keywords)``."""
    return checkpoint(partial(layer.__call__, **keywords), hidden_states)


def partial_function(
    layer: nn.Module, hidden_states: torch.Tensor, keywords: dict[str, Any], checkpoint: Checkpoint
) -> Any:
    """Passes a partial of the class's plain function: nothing in it is a bound method."""
    return checkpoint(partial(type(layer).forward, layer, **keywords), hidden_states)


def nested_partial(
    layer: nn.Module, hidden_states: torch.Tensor, keywords: dict[str, Any], checkpoint: Checkpoint
) -> Any:
    """Passes a partial of a partial."""
    mask, rotary = ({name: keywords[name]} for name in ("attention_mask", "position_embeddings"))
    # Python melts a partial of a partial into one, unless the inner one has attributes: update_wrapper gives it some.
    return checkpoint(partial(update_wrapper(partial(layer.__call__, **mask), layer.forward), **rotary), hidden_states)


def module(layer: nn.Module, hidden_states: torch.Tensor, keywords: dict[str, Any], checkpoint: Checkpoint) -> Any:
    """Passes the layer itself."""
    return checkpoint(layer, hidden_states, *keywords.values())


def closure(layer: nn.Module, hidden_states: torch.Tensor, keywords: dict[str, Any], checkpoint: Checkpoint) -> Any:
    """Passes a lambda that closes over layer and keywords."""
    return checkpoint(lambda states: layer(states, **keywords), hidden_states)


def wraps(layer: nn.Module, hidden_states: torch.Tensor, keywords: dict[str, Any], checkpoint: Checkpoint) -> Any:
    """Passes a function that wears the name and ``__wrapped__`` of ``layer.forward``."""
    return checkpoint(functools.wraps(layer.forward)(lambda *inputs: layer(*inputs)), hidden_states, *keywords.values())


def deepspeed_partial(
    layer: nn.Module, hidden_states: torch.Tensor, keywords: dict[str, Any], checkpoint: Checkpoint
) -> Any:
    """Replaces the layer's forward by a partial of it, the first time, and passes the partial."""
    return checkpoint(vars(layer).setdefault("forward", partial(layer.forward)), hidden_states, *keywords.values())


def named(name: str) -> Convention:
    """The calling convention of that name, a record in the doctor's catalog: ``partial-bound`` is ``partial_bound`` here."""
    found: Convention = globals()[name.replace("-", "_")]
    return found
