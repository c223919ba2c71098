"""A checkpointed step of a course as evidence."""

from __future__ import annotations

from typing import Any, Callable, Optional

from .. import autocast, failures, memory, shortages, surroundings, tiny_inputs, watch
from . import comparing
from .side import Side, Taken
from .situations import Situation

Observed = tuple[dict[str, Any], Optional[Taken]]
"""Evidence of a step, and the step itself where it came to its end."""


class Observer:
    """Takes steps and notes what differs from the same steps without checkpointing."""

    def __init__(self, probe: str, spy: watch.Spy, enter: Callable[[str], None]) -> None:
        self.probe, self.spy, self.enter = probe, spy, enter

    def observe(
        self, side: Side, situation: Situation, batches: list[dict[str, Any]], plain: Taken, tolerance: float
    ) -> Observed:
        """Take a step with checkpointing.

        Args:
            side: Takes the step.
            situation: What is particular about it.
            batches: Go forward before backward starts.
            plain: The same step without checkpointing.
            tolerance: Relative difference that rounding explains.
        """
        step: dict[str, Any] = {"id": self.probe, "ended": "returned", "precision": situation.precision}
        calls = self.spy.calls

        def tell(stage: str) -> None:
            step["during"] = stage
            self.enter(stage)

        side.is_watched = True
        try:
            with autocast.watching() as other_devices:
                taken = side.take(situation, batches, tell)
        except (Exception, SystemExit) as error:
            if shortages.ran_out(error):
                raise
            step.update(ended="raised", error=failures.evidence(error, self.spy.last))
            step["function_called"] = self.spy.calls - calls
            return step, None
        step["during"] = ""
        step["function_called"] = self.spy.calls - calls
        step.update(plain_loss=plain.loss, loss=taken.loss, rounding=tolerance)
        step["gradients"] = comparing.compare(plain.gradients, taken.gradients, tolerance)
        step.update(_bytes(situation, plain, taken))
        step.update(_changed(plain, taken))
        step.update(_layers(side, situation, plain, taken))
        ran_once = [one["forwards"] <= one["in_forward"] for one in step.get("layers", ())]
        if situation.is_measured and ran_once and all(ran_once):
            step["moved_bytes"] = _moved(side, batches)
        if situation.precision != "fp32" and not other_devices:
            step["arithmetic"] = watch.other_arithmetic(taken.seen)
        elif situation.precision != "fp32":
            step["gradients"]["wrong"] = []  # its autocast is another device's, and there is none here
        step["keywords_lost"] = watch.lost_keywords(plain.seen, taken.seen)
        return step, taken


def _bytes(situation: Situation, plain: Taken, taken: Taken) -> dict[str, Any]:
    """Bytes saved for backward, and bytes in use after forward."""
    if not situation.is_measured:
        return {}
    saved = {"saved_bytes": {"plain": plain.saved, "checkpointed": taken.saved}}
    held = {"held_bytes": {"plain": plain.held, "checkpointed": taken.held}}
    return saved if memory.in_use() is None else {**saved, **held}


def _changed(plain: Taken, taken: Taken) -> dict[str, Any]:
    """What the step left changed, random numbers included."""
    drawn = surroundings.changed(plain.drawn, taken.drawn)
    changed = taken.changed + [name for name in drawn if name not in taken.changed]
    return {"changed": changed} if changed else {}


def _layers(side: Side, situation: Situation, plain: Taken, taken: Taken) -> dict[str, Any]:
    """How often each layer ran."""
    if not situation.is_counted or situation.without_gradients:
        return {}
    counts = ((name, layer, watch.forwards(name, plain.seen, taken.seen)) for name, layer in side.model.layers.items())
    return {
        "layers": [
            {"name": name, "type": type(layer).__name__, **counted} for name, layer, counted in counts if counted
        ]
    }


def _moved(side: Side, batches: list[dict[str, Any]]) -> int:
    """Bytes that a forward pass sends to the CPU."""
    with watch.Moves() as moves:
        side.module(**tiny_inputs.fresh(batches[0]))
    return int(moves.bytes)
