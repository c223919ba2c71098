"""CKPT002: training runs on with checkpointing off."""

from __future__ import annotations

import itertools

from ckptdoctor.model.evidence import Evidence, Layer
from ckptdoctor.rules.common.case import Case
from ckptdoctor.rules.common.reproduction import RUNS_OF_LAYERS, Assertion
from ckptdoctor.rules.common.rule import Rule, RuleHit


def judge(case: Case) -> RuleHit | None:
    """Fires when a layer was not run again in backward."""
    evidence = case.evidence
    if not case.is_checkpointed or evidence.ended != "returned" or evidence.forward_only or not evidence.layers:
        return None
    kept = _kept(evidence)
    if not kept:
        return None
    detail = f"{len(kept)} of {len(evidence.layers)} layers were not recomputed in backward{case.step_text}."
    if not evidence.function_called:
        return RuleHit(
            title=f"{case.model_text} never calls the checkpoint function: checkpointing is off, and nothing says so",
            detail=f"{detail} The model accepts that checkpointing is switched on, and does nothing about it.",
            culprit=evidence.model_place,
        )
    if not any(layer.trained for layer in kept) and any(layer.trained for layer in evidence.layers):
        return _trained_only(case, len(kept))
    course = case.course()
    if course is not None and (on_purpose := _on_purpose(course, case)) is not None:
        return on_purpose
    return RuleHit(
        title=f"{case.spec.function} does not checkpoint{case.step_text}: training goes on without it, and nothing says so",
        detail=f"{detail} The checkpoint function was called {evidence.function_called} times.",
        culprit=case.function,
        passed_by=case.passed_by,
    )


def _kept(evidence: Evidence) -> list[Layer]:
    return [layer for layer in evidence.layers if layer.reached and layer.forwards <= layer.in_forward]


def _on_purpose(course: Case, case: Case) -> RuleHit | None:
    """What is done on purpose, or may be: some of the layers in every step, or another way to save memory.

    It is told by the whole course: the same layers in every step, and memory that falls accordingly.
    """
    steps = [step.evidence for step in course.steps() if step.evidence.layers and not step.evidence.rare]
    patterns = {tuple(layer in _kept(step) for layer in step.layers) for step in steps}
    measured = next((step for step in steps if step.saved_bytes is not None and step.ended == "returned"), None)
    if len(patterns) != 1 or measured is None or measured.saved_bytes is None:
        return None
    (pattern,) = patterns
    saved = measured.saved_bytes
    if all(pattern):
        return _offloads(case, measured) if measured.moved_bytes > saved.plain / 2 else None
    left = sum(pattern)
    if 2 * left > len(pattern) + 1 or saved.checkpointed > FELL * saved.plain:
        return None
    is_regular = _is_regular(pattern)
    return RuleHit(
        title=f"{case.spec.function} checkpoints {'some of the' if not is_regular else _which(pattern)} layers",
        detail=(
            f"In every step, {len(pattern) - left} of {len(pattern)} layers were recomputed in backward, and the bytes kept "
            f"for backward fell to {saved.checkpointed / saved.plain:.0%}."
        ),
        severity="note" if is_regular else "warning",
        culprit=case.function,
        passed_by=case.passed_by,
    )


def _trained_only(case: Case, kept: int) -> RuleHit:
    return RuleHit(
        title=f"{case.spec.function} checkpoints only the layers that are trained",
        detail=(
            f"{kept} of {len(case.evidence.layers)} layers are frozen and were not recomputed in backward{case.step_text}: "
            "what backward needs of them was kept."
        ),
        severity="note",
        culprit=case.function,
        passed_by=case.passed_by,
    )


FELL = 0.9
"""Share of the bytes saved without checkpointing below which they count as fallen."""


def _is_regular(pattern: tuple[bool, ...]) -> bool:
    """Whether layers are left out at even distances, or only the last one."""
    places = [index for index, is_left in enumerate(pattern) if is_left]
    distances = {second - first for first, second in itertools.pairwise(places)}
    return (len(distances) == 1 and distances != {1}) or places == [len(pattern) - 1]


def _which(pattern: tuple[bool, ...]) -> str:
    return "all but the last of the" if sum(pattern) == 1 else "only every few of the"


def _offloads(case: Case, step: Evidence) -> RuleHit:
    return RuleHit(
        title=f"{case.spec.function} offloads activations to the CPU, and recomputes nothing",
        detail=(
            f"In the forward pass {step.moved_bytes} bytes were sent to the CPU, and brought back in backward. That saves the "
            "GPU's memory, and takes the CPU's."
        ),
        severity="note",
        culprit=case.function,
        passed_by=case.passed_by,
    )


ASSERTION = Assertion(
    "layers that are not run again in backward",
    """\
idle = [index for index, count in enumerate(runs) if count <= in_forward[index]]
assert not idle, f"layers that are not run again in backward: {idle}"
""",
    before=RUNS_OF_LAYERS,
    forward="loss = $run(**inputs).loss\nin_forward = list(runs)\n",
)

RULE = Rule(
    code="CKPT002",
    name="not-checkpointed",
    meaning="Checkpointing is switched on, yet layers are not recomputed: it is silently off.",
    explanation="""\
Every layer must run twice in a training step: once in the forward pass, and once more in backward to recompute what was
not kept. Where a layer runs only once, its activations were kept and no memory is saved, although the configuration says
otherwise. The job then runs out of memory at a size at which it should not, and nothing in the log says why.

It is recognised by counting the calls of the submodules inside each layer, in the forward pass and in backward. What is done
on purpose is a note: the same layers at even distances are left out in every step and memory falls accordingly, only
layers that are trained are recomputed, or activations are sent to the CPU. Where it cannot be told whether it is on purpose,
it is a warning.""",
    links=(),
    judge=judge,
    implies=("CKPT008",),
    assertion=ASSERTION,
)
