"""The checkpoint function, called by itself on one layer, as models and transformers call torch's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch

from .. import failures, shortages, watch
from . import comparing
from .side import Side


class Way(NamedTuple):
    """A way to call a checkpoint function."""

    when: str
    """What is particular about it, as the end of a clause."""
    training: bool
    """Whether the layer is in training mode."""
    keywords: dict[str, Any]
    """Keyword arguments for the function itself."""


WAYS = (
    Way("with a layer in evaluation mode", False, {}),
    Way("when it is called with use_reentrant=True", True, {"use_reentrant": True}),
    Way("when it is called with use_reentrant=False", True, {"use_reentrant": False}),
    Way("when it is called with preserve_rng_state=True", True, {"preserve_rng_state": True}),
)


def steps(side: Side, call: watch.Call, probe: str, tolerance: float) -> Iterator[dict[str, Any]]:
    """Repeat a call in each way that the model itself does not use, as evidence of a step each.

    Args:
        side: The model with checkpointing.
        call: A call that the model made.
        probe: Id of the probe.
        tolerance: Relative difference that rounding explains.
    """
    for way in WAYS:
        if set(way.keywords) & set(call.kwargs):
            continue
        for layer in side.model.layers.values():
            layer.train(way.training)
        step: dict[str, Any] = {"id": probe, "when": way.when, "rare": True, "ended": "returned", "during": ""}
        if _is_taken(side, call, way, tolerance, step):
            yield step
    for layer in side.model.layers.values():
        layer.train()


def _is_taken(side: Side, call: watch.Call, way: Way, tolerance: float, step: dict[str, Any]) -> bool:
    """Whether the function can be called in this way; the evidence is added to the step."""
    plain, _ = _called(side, call, call.passed)
    try:
        step["during"] = "forward"
        taken, again = _called(side, call, call.function, way.keywords, step)
    except (Exception, SystemExit) as error:
        if shortages.ran_out(error):
            raise
        step.update(ended="raised", error=failures.evidence(error, call.passed))
        # A function that sets an argument itself need not accept it; some releases of Python 3.11 raise a KeyError then.
        sets_it_itself = "multiple values for keyword argument" in str(error) or isinstance(error, KeyError)
        return not step["error"]["needs_cuda"] and not sets_it_itself
    step["during"] = ""
    step["gradients"] = comparing.compare(plain, taken, tolerance)
    step["function_called"] = 1
    if way.training and not again:
        step["layers"] = [{"name": "the layer", "type": "", "plain": 1, "forwards": 1, "in_forward": 1}]
    return True


def _called(
    side: Side,
    call: watch.Call,
    function: Any,
    keywords: dict[str, Any] | None = None,
    step: dict[str, Any] | None = None,
) -> tuple[dict[str, Any], bool]:
    """Call the function, or the callable alone; the gradients, and whether anything ran again in backward."""
    side.module.zero_grad(set_to_none=True)
    side.insides.take()
    inputs = [_as_input(one) for one in call.args]
    to_run = [] if function is call.passed else [call.passed]
    output = function(*to_run, *inputs, **call.kwargs, **(keywords or {}))
    side.insides.forward_is_over()
    tensor = output if torch.is_tensor(output) else output[0]
    if step is not None:
        step["during"] = "backward"
    tensor.pow(2).sum().backward()
    seen = side.insides.take()
    gradients = {name: one.grad for name, one in side.module.named_parameters() if one.grad is not None}
    named = {f"the input {index}": one.grad for index, one in enumerate(inputs) if torch.is_tensor(one)}
    copied = {name: one.detach().clone() for name, one in {**gradients, **named}.items() if one is not None}
    side.module.zero_grad(set_to_none=True)
    return {"the output": tensor.detach().clone(), **copied}, seen.calls != seen.in_forward


def _as_input(value: Any) -> Any:
    """A copy of an argument; a tensor becomes a leaf of its own graph."""
    if torch.is_tensor(value) and value.is_floating_point():
        return value.detach().clone().requires_grad_(value.requires_grad)
    return value
