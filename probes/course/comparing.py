"""A checkpointed step against the plain one, and what counts as a difference."""

from __future__ import annotations

from typing import Any

from .. import gradients


def compare(plain: dict[str, Any], checkpointed: dict[str, Any], tolerance: float) -> dict[str, Any]:
    """Compare gradients with the plain step's; a gradient that is not a number there must not be a number here either."""
    sound = {name: one for name, one in plain.items() if one is None or bool(one.isfinite().all())}
    hidden = [
        name
        for name, one in plain.items()
        if name not in sound and checkpointed.get(name) is not None and bool(checkpointed[name].isfinite().all())
    ]
    found = gradients.compare(sound, checkpointed, tolerance)
    more = [
        name
        for name, one in checkpointed.items()
        if one is not None and plain.get(name) is None and bool(one.any() or not one.isfinite().all())
    ]
    return {**found, **({"hidden": hidden} if hidden else {}), **({"unexpected": more} if more else {})}


def is_at_fault(step: dict[str, Any]) -> bool:
    """Whether a step went wrong that torch's own functions get right."""
    return step.get("torch_too") == []


def deviates(step: dict[str, Any]) -> bool:
    """Whether a step differs from the plain one by more than rounding."""
    compared = step.get("gradients") or {}
    told = ("missing", "wrong", "hidden", "unexpected")
    if step["ended"] != "returned" or step.get("changed") or any(compared.get(name) for name in told):
        return True
    if step.get("arithmetic") or step.get("keywords_lost"):
        return True
    loss, plain = step.get("loss"), step.get("plain_loss")
    if loss is None or plain is None or plain != plain:
        return plain is not None and loss is not None and loss == loss
    return not abs(loss - plain) <= min(step.get("rounding", 0.0), 1e-4) * max(abs(plain), 1e-12)
