"""CKPT015: what a layer computes in recomputation is not what it computed in the forward pass."""

from __future__ import annotations

from ckptdoctor.model.evidence import Difference, Place
from ckptdoctor.rules.common.case import Case
from ckptdoctor.rules.common.rule import Rule, RuleHit
from ckptdoctor.words.wording import counted, listed


def judge(case: Case) -> RuleHit | None:
    """Fires if a layer of a job got other inputs, random numbers or keyword arguments when it ran again."""
    differs = case.evidence.differs
    if not case.is_checkpointed or not differs:
        return None
    first = next((one for one in differs if one.what != "values"), differs[0])
    alike = [one for one in differs if one.what == first.what]
    met = {one.layer for one in alike}
    layers = [one.name for one in case.evidence.layers if one.name in met] or sorted(met)
    return RuleHit(
        title=f"{_who(case, first)}: gradients are wrong, without any error",
        detail=f"{_what(first)} Seen in {counted(len(layers), 'layer')}: {listed(layers, limit=3)}.{_why(case, first)}",
        culprit=_culprit(case, first),
        passed_by=case.passed_by if case.function else None,
    )


def _culprit(case: Case, one: Difference) -> Place | None:
    """The line that drops random states, else the function's own, else the one that calls torch's; never torch itself."""
    if one.what == "random numbers" and case.evidence.random_dropped_by is not None:
        return case.evidence.random_dropped_by
    where = case.function or case.passed_by
    return where if where is not None and where.package != "torch" else None


def _who(case: Case, one: Difference) -> str:
    what = {
        "random numbers": "draws other random numbers",
        "keywords": "gets fewer keyword arguments",
        "shapes": "computes with other shapes",
        "modules": "takes another way",
        "values": "computes other values",
    }[one.what]
    return f"`{one.type or case.model_text}` {what} in recomputation with {case.spec.function}"


def _what(one: Difference) -> str:
    where = f"`{one.module}` in `{one.layer}`" if one.module else f"`{one.layer}`"
    if one.what == "random numbers":
        return (
            f"{where} draws random numbers, as dropout does, and began recomputation with another random state than the "
            "forward pass. The gradients belong to another dropout mask than the loss."
        )
    if one.what == "keywords":
        return f"{where} got {one.forward} in the forward pass, and not in recomputation."
    if one.what == "shapes":
        return f"{where} got {one.forward} in the forward pass and {one.again} in recomputation."
    if one.what == "modules":
        return (
            f"`{one.layer}` ran `{one.forward}` in the forward pass, and `{one.again}` in its place in recomputation."
        )
    return f"{where} got other values in recomputation than in the forward pass, by more than rounding."


def _why(case: Case, one: Difference) -> str:
    if one.what == "random numbers" and not case.evidence.preserves_random:
        return " torch's checkpoint function was called with `preserve_rng_state=False`: remove it, or set all dropout to 0."
    return ""


RULE = Rule(
    code="CKPT015",
    name="recomputation-differs",
    meaning="A layer of a job computes something else in recomputation than in the forward pass.",
    explanation="""\
Recomputation must repeat the forward pass: the same inputs, random numbers, precision and keyword arguments. If something
differs, backward computes the gradients of another function than the one that gave the loss. With non-reentrant
checkpointing, torch compares the shapes of what is saved, and not the values; with reentrant checkpointing it compares
nothing. Training continues without any error.

Usual causes: `preserve_rng_state=False` with dropout on, a checkpoint function that does not restore random states, state that
changes between the two runs, a router that decides otherwise.

`ckptdoctor watch` compares both runs of each layer in the job itself: the random states, if the layer draws random numbers;
the keyword arguments; the shapes and types of what its modules get; some of the values, of one number in each row of up to
2,048 rows. Differences that rounding explains do not count.""",
    links=(),
    judge=judge,
    implies=(),
)
