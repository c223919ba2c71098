"""Gradients of a checkpointed step against those of the plain one."""

from __future__ import annotations

from typing import Any

import torch

from . import tiny_inputs

CLEAR = 1e-3
"""Least norm of the difference between two sets of gradients at which the loss can tell them apart in fp32."""

STEPS = (1e-4, 1e-2)
"""How far parameters are moved to measure the slope, along a direction of norm one: at least, and at most.

Tiny models are far from linear: along steps of a hundredth, the loss of some falls and rises again."""

ROUNDING = 2e-5
"""The step times the slope that it is to measure: ten times what rounding does to a loss in fp32."""


def compare(
    plain: dict[str, Any], checkpointed: dict[str, Any], tolerance: float, noise: float = 0.0
) -> dict[str, Any]:
    """Compare the checkpointed step's gradients with the plain step's.

    ZeRO keeps zeros for a parameter that got no gradient, so all zeros where the plain gradient is not counts as missing.

    Args:
        plain: Gradients by parameter.
        checkpointed: The same.
        tolerance: Of a difference, relative to the parameter's largest gradient.
        noise: The same, relative to the largest gradient of all parameters: where steps run other operations, gradients
            that are zero but for rounding differ by all that they are.
    """
    largest = max((float(one.abs().max()) for one in plain.values() if one is not None), default=0.0)
    missing, wrong, compared = [], [], 0
    for name, expected in plain.items():
        if expected is None or not bool(expected.any()):
            continue
        compared += 1
        gradient = checkpointed.get(name)
        if gradient is None or (not bool(gradient.any()) and bool(gradient.isfinite().all())):
            missing.append(name)
            continue
        apart = float((gradient.to(expected.device) - expected).abs().max())
        difference = apart / float(expected.abs().max())
        if apart <= noise * largest:
            continue
        if not difference <= tolerance:  # also true for NaN
            wrong.append({"parameter": name, "difference": difference if difference == difference else 1e308})
    return {"compared": compared, "missing": missing, "wrong": wrong}


def which_is_right(
    module: torch.nn.Module, inputs: dict[str, Any], plain: dict[str, Any], checkpointed: dict[str, Any]
) -> str:
    """Tell which of two sets of gradients agrees with the loss: ``plain``, ``checkpointed``, or nothing when unclear.

    A kernel may be wrong in the plain step, and a checkpoint function would be blamed for being right. So the loss is
    computed a little to either side, along the direction in which the two sets differ most: a right gradient predicts its
    slope there.
    """
    both = {name: (plain[name], checkpointed[name]) for name in plain if plain[name] is not None}
    apart = {name: one - other for name, (one, other) in both.items() if other is not None}
    norm = torch.sqrt(sum((difference.double().pow(2).sum() for difference in apart.values()), torch.zeros(())))
    if not bool(norm.isfinite()) or float(norm) < CLEAR:
        return ""
    direction = {name: difference / norm for name, difference in apart.items()}
    claims = [sum(float((both[name][which] * direction[name]).sum()) for name in direction) for which in (0, 1)]
    step = min(max(ROUNDING / float(norm), STEPS[0]), STEPS[1])
    slope = (_loss_along(module, inputs, direction, step) - _loss_along(module, inputs, direction, -step)) / (2 * step)
    off = [abs(slope - claim) for claim in claims]
    if min(off) > max(off) / 3:
        return ""
    return "plain" if off[0] < off[1] else "checkpointed"


def _loss_along(module: torch.nn.Module, inputs: dict[str, Any], direction: dict[str, Any], step: float) -> float:
    """The loss with the parameters moved along a direction, without checkpointing; they are moved back."""
    parameters = dict(module.named_parameters())
    kept = {name: parameters[name].detach().clone() for name in direction}
    module.eval()  # models checkpoint in training only
    with torch.no_grad():
        for name, along in direction.items():
            parameters[name].add_(along.to(parameters[name].device), alpha=step)
        loss = float(module(**tiny_inputs.fresh(inputs)).loss)
        for name, value in kept.items():
            parameters[name].copy_(value)
    module.train()
    return loss
