"""CKPT002: training runs on with checkpointing off."""

from __future__ import annotations

from ckptdoctor.rules.case import Case, Fired, Rule


def judge(case: Case) -> Fired | None:
    """Fires when a layer was not run again in backward."""
    evidence = case.evidence
    if not case.is_checkpointed or evidence.ended != "returned" or evidence.forward_only or not evidence.layers:
        return None
    kept = [layer for layer in evidence.layers if layer.reached and layer.forwards <= layer.in_forward]
    if not kept:
        return None
    detail = f"{len(kept)} of {len(evidence.layers)} layers were not recomputed in backward."
    if not evidence.function_called:
        return Fired(
            title=f"{case.model_text} never calls the checkpoint function: checkpointing is off, and nothing says so",
            detail=f"{detail} The model accepts that checkpointing is switched on, and does nothing about it.",
            culprit=evidence.model_place,
        )
    return Fired(
        title=f"{case.spec.function} does not checkpoint: training goes on without it, and nothing says so",
        detail=f"{detail} The checkpoint function was called {evidence.function_called} times.",
        culprit=case.function,
        handed_over_by=case.handed_over_by,
    )


RULE = Rule(
    code="CKPT002",
    name="not-checkpointed",
    meaning="Checkpointing is switched on, yet layers are not recomputed: it is silently off.",
    explanation="""\
Every layer must run twice in a training step: once in the forward pass, and once more in backward to recompute what was
not kept. Where a layer runs only once, its activations were kept and no memory is saved, although the configuration says
otherwise. The job then runs out of memory at a size at which it should not, and nothing in the log says why.

It is recognised by counting the calls of the submodules inside each layer, in the forward pass and in backward.""",
    links=(),
    judge=judge,
    implies=("CKPT008",),
)
