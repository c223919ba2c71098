"""CKPT014: what a layer saves for backward depends on values."""

from __future__ import annotations

from ckptdoctor.model.evidence import ValueDependence
from ckptdoctor.rules.common.case import Case
from ckptdoctor.rules.common.rule import Rule, RuleHit
from ckptdoctor.words.wording import listed

NEAR = "With the layer's input changed within rounding to bf16"


def judge(case: Case) -> RuleHit | None:
    """Fires when a layer, or the checkpoint function, saves tensors of other shapes for other values of its input."""
    found = case.evidence.value_dependent
    if not case.is_checkpointed or not found:
        return None
    worst = max(found, key=lambda one: one.changed)
    who = f"{worst.type} decides by values" if worst.layer else f"{case.spec.function} decides by values"
    return RuleHit(
        title=f"{who} what it saves for backward: recomputation can fail with CheckpointError",
        detail=f"{_seen(worst, found)} {_meaning(worst)}",
        severity="warning",
        culprit=worst.place or case.function,
    )


def _seen(worst: ValueDependence, found: tuple[ValueDependence, ...]) -> str:
    """What was run, and what changed."""
    if worst.raised:
        times = f"in {worst.changed} of {worst.trials} steps" if worst.changed else "in none of the steps"
        also = "" if worst.changed else ", and with quite another input it did"
        return f"{NEAR} between the forward and the backward pass, torch raised CheckpointError {times}{also}."
    differs = f"{worst.again} instead of {worst.saved}"
    where = f"in {worst.changed or 'none'} of {worst.trials} runs on {worst.tokens} tokens"
    others = f" So do layers such as {listed([one.layer for one in found], limit=3)}." if len(found) > 1 else ""
    if worst.changed:
        return f"{NEAR}, `{worst.layer}` saved other shapes {where} ({differs}).{others}"
    return f"With quite another input, `{worst.layer}` saves other shapes ({differs}). {NEAR}, it did {where}.{others}"


def _meaning(worst: ValueDependence) -> str:
    """What follows for training."""
    near_tie = "near a tie" if worst.changed else "near a tie, which is rare,"
    return (
        "Recomputation must repeat the forward pass bit by bit. Under FSDP with mixed precision, in bf16 or with "
        f"nondeterministic kernels it may not. A choice {near_tie} then goes the other way: non-reentrant checkpointing raises "
        "CheckpointError; reentrant checkpointing gives the gradients of the other choice, without any error."
    )


RULE = Rule(
    code="CKPT014",
    name="depends-on-values",
    meaning="What a layer saves depends on values: a tiny difference can end recomputation in CheckpointError.",
    explanation="""\
Some layers decide by values which tensors they save, and of which shapes. A mixture of experts sends each token to the
experts with the highest scores: the number of tokens of an expert is a shape. Two scores that are nearly equal change places
if the layer's input differs by as little as bf16 rounds.

Recomputation gets the same input, and repeats the same choice if it repeats every operation bit by bit. Under FSDP with mixed
precision, in bf16, or with kernels whose sums have no fixed order, it may not. Then non-reentrant checkpointing raises
`CheckpointError`, with a different number of tensors or different metadata, once in many steps. Reentrant checkpointing does
not compare: the gradients belong to the other choice.

ckptdoctor runs each layer with its own input, with inputs that differ within rounding to bf16, and with quite other inputs, and
compares the shapes of what autograd saves. The rule does not fire on layers whose shapes stay, such as experts that run as one
grouped product.""",
    links=(),
    judge=judge,
    label="saved by",
)
