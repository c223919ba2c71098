"""CKPT008: layers are recomputed, and their activations kept all the same."""

from __future__ import annotations

from ckptdoctor.rules.case import Case, Fired, Rule

FELL = 0.9
"""Share of the bytes saved without checkpointing below which they count as fallen; real functions reach a fifth here."""


def judge(case: Case) -> Fired | None:
    """Fires when the bytes saved for backward did not fall."""
    saved, control = case.evidence.saved_bytes, case.control()
    if not case.is_checkpointed or case.evidence.ended != "returned" or saved is None:
        return None
    # An engine may save more by itself; what it saves without checkpointing is the measure then.
    plain = max(saved.plain, control.saved_bytes.checkpointed if control and control.saved_bytes else 0)
    if saved.checkpointed < FELL * plain:
        return None
    return Fired(
        title=f"{case.spec.function} keeps as much for backward as without checkpointing: slower, and no memory saved",
        detail=f"{saved.checkpointed} bytes were kept for backward with checkpointing, {plain} without.",
        culprit=case.function,
        handed_over_by=case.handed_over_by,
    )


RULE = Rule(
    code="CKPT008",
    name="memory-not-saved",
    meaning="Checkpointing is on, and as many bytes as without it are kept for backward.",
    explanation="""\
The point of checkpointing is to keep less for backward. A function that runs the layer with gradients enabled and
recomputes it as well pays the time and saves nothing.

It is recognised by adding up, in the forward pass, the tensors that autograd keeps, parameters and repeats left out.""",
    links=(),
    judge=judge,
)
