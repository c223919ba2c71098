"""The situations of a course: what is particular about each step, in the order of the steps."""

from __future__ import annotations

from typing import Any, Callable, NamedTuple

from . import conditions

SCALE = 2.0**16
"""The factor by which fp16 training scales its loss at first."""


class Situation(NamedTuple):
    """What is particular about a step."""

    when: str
    """What is particular about it, as the end of a clause."""
    batches: tuple[str, ...] = ("usual",)
    """Names of the batches that go forward before backward starts."""
    precision: str = "fp32"
    scale: float = 1.0
    """Factor of the loss in backward."""
    in_thread: bool = False
    """Backward runs in another thread, as it does on a GPU."""
    without_gradients: bool = False
    in_evaluation: bool = False
    setting: Callable[[Any], Any] | None = None
    """Makes a context in which a side takes the step."""
    rare: bool = False
    """Only some jobs meet this situation."""
    is_measured: bool = False
    """Bytes are counted."""
    is_counted: bool = True
    """Layers must be recomputed."""
    may_raise: bool = False
    """A function may refuse the step."""
    is_for_all: bool = True
    """Functions of trainers take the step too, not only functions of users."""


def situations(usual_cache: bool) -> list[Situation]:
    """The steps in their order; steps of one kind stand together so that growing memory shows."""
    large = "with a longer sequence and a larger batch"
    return [
        Situation("in the first step"),
        Situation("in the second step, with another batch", ("other",)),
        Situation(f"in the third step, {large}", ("large",), is_measured=True),
        Situation(f"in the fourth step, {large}", ("large",)),
        Situation(f"in the fifth step, {large}", ("large",)),
        Situation("with a single sequence without padding", ("single",), is_for_all=False),
        Situation("with a loss that is scaled up, as for fp16", scale=SCALE, is_for_all=False),
        Situation("when backward runs in another thread, as on a GPU", in_thread=True),
        Situation("in evaluation", ("other",), without_gradients=True, in_evaluation=True),
        Situation("in training mode without gradients", ("other",), without_gradients=True, is_for_all=False),
        Situation("after a forward pass that no backward pass follows", setting=conditions.after_a_dropped_forward),
        Situation("when two forward passes come before backward", ("usual", "other"), is_counted=False),
        Situation("in bf16 under autocast", precision="bf16"),
        Situation("in bf16 under autocast, with another batch", ("other",), precision="bf16", is_for_all=False),
        Situation("when only the first layer is trained", setting=conditions.first_layer_only, is_counted=False),
        Situation(
            "when the embeddings are frozen and their output requires a gradient, as PEFT has it",
            setting=conditions.frozen_embeddings,
        ),
        *([Situation("with the key-value cache on", setting=conditions.with_cache)] if usual_cache else []),
        Situation("when position embeddings need gradients", setting=conditions.trained_positions, is_for_all=False),
        Situation(
            "when the loss is not a number",
            setting=conditions.broken_weight,
            is_counted=False,
            may_raise=True,
            is_for_all=False,
        ),
        Situation("in a later step", ("other",)),
        # A trainer leaves frozen embeddings to PEFT.
        Situation("when the embeddings are frozen", setting=conditions.frozen_inputs, rare=True, is_for_all=False),
    ]
