"""CKPT002: checkpointing is switched on, but layers are not recomputed."""

from __future__ import annotations

import itertools

from ckptdoctor.model.evidence import Evidence, Layer, Replacement
from ckptdoctor.rules.common.case import Case
from ckptdoctor.rules.common.reproduction import RUNS_OF_LAYERS, Assertion
from ckptdoctor.rules.common.rule import Rule, RuleHit
from ckptdoctor.words.wording import owner


def judge(case: Case) -> RuleHit | None:
    """Fires when a layer was not run again in backward."""
    evidence = case.evidence
    if not case.is_checkpointed or evidence.ended != "returned" or evidence.forward_only or not evidence.layers:
        return None
    kept = _kept(evidence)
    if not kept:
        return None
    replaced = _replaced(case, kept)
    detail = f"{len(kept)} of {len(evidence.layers)} layers were not recomputed in backward{case.step_text}."
    if replaced is not None:
        return _by_replacement(case, replaced, detail)
    if not evidence.function_called:
        return RuleHit(
            title=f"{case.model_text} never calls the checkpoint function: checkpointing is off, without any error",
            detail=f"{detail} Switching checkpointing on raises no error and has no effect on this model.",
            culprit=evidence.model_place,
        )
    if not any(layer.trained for layer in kept) and any(layer.trained for layer in evidence.layers):
        return _trained_only(case, len(kept))
    course = case.course()
    if course is not None and (on_purpose := _on_purpose(course, case)) is not None:
        return on_purpose
    return RuleHit(
        title=f"{case.spec.function} does not checkpoint{case.step_text}: checkpointing is off, without any error",
        detail=f"{detail} The checkpoint function was called {evidence.function_called} times.",
        culprit=case.function,
        passed_by=case.passed_by,
    )


def _kept(evidence: Evidence) -> list[Layer]:
    return [layer for layer in evidence.layers if layer.reached and layer.forwards <= layer.in_forward]


def _replaced(case: Case, kept: list[Layer]) -> Replacement | None:
    """The replacement that took checkpointing away, if the layers are recomputed without it."""
    found = {one.what: one for one in case.evidence.replaced}
    types = [one.type.removeprefix(_FSDP) for one in kept]
    wanted = [
        f"{name}.{method}" for name in (*(one.name for one in kept), *types) for method in ("forward", "__call__")
    ]
    wanted += [name for name in found if name.rpartition(".")[2] in (*_SHARED, *types)]
    bare = case.without_patches()
    if bare is not None and (bare.ended != "returned" or _kept(bare)):
        return None  # the layers are not recomputed without the trainer's patches either
    direct = [found[name] for name in wanted if name in found]
    return direct[0] if direct and (bare is not None or not case.evidence.function_called) else None


_FSDP = "FSDP"
"""FSDP2 makes a subclass of each layer's class, and puts this before its name."""

_SHARED = ("GradientCheckpointingLayer", "_set_gradient_checkpointing", "checkpoint")
"""Names of what checkpoints layers, or switches that on."""


def _by_replacement(case: Case, replaced: Replacement, detail: str) -> RuleHit:
    where = replaced.by or replaced.with_
    who = owner(where, case.spec.function)
    return RuleHit(
        title=f"{who} replaces `{replaced.what}`, and checkpointing goes with it: it is off, without any error",
        detail=(
            f"{detail} {case.model_text} is checkpointed in what was replaced. In transformers 5.23 and later, that is "
            "`forward` of each layer's class; before, it was `__call__`."
        ),
        culprit=where,
        passed_by=case.passed_by,
    )


def _on_purpose(course: Case, case: Case) -> RuleHit | None:
    """The hit if layers are skipped on purpose, or may be: some of the layers in every step, or offloading.

    The whole course shows it: the same layers in every step, and memory that falls accordingly.
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
            "their activations were kept."
        ),
        severity="note",
        culprit=case.function,
        passed_by=case.passed_by,
    )


FELL = 0.9
"""Bytes count as fallen below this share of the bytes without checkpointing."""


def _is_regular(pattern: tuple[bool, ...]) -> bool:
    """Whether layers are left out at even distances, or only the last one."""
    places = [index for index, is_left in enumerate(pattern) if is_left]
    distances = {second - first for first, second in itertools.pairwise(places)}
    return (len(distances) == 1 and distances != {1}) or places == [len(pattern) - 1]


def _which(pattern: tuple[bool, ...]) -> str:
    return "all but the last of the" if sum(pattern) == 1 else "only every few of the"


def _offloads(case: Case, step: Evidence) -> RuleHit:
    return RuleHit(
        title=f"{case.spec.function} offloads activations to the CPU and recomputes nothing",
        detail=(
            f"The forward pass moved {step.moved_bytes} bytes to the CPU, and backward moved them back. This saves GPU memory "
            "and uses CPU memory."
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
    meaning="Checkpointing is switched on, but layers are not recomputed.",
    explanation="""\
With checkpointing, every layer runs twice in a training step: in the forward pass, and again in backward to recompute what
was not kept. A layer that runs only once has kept its activations, so no memory is saved. The job runs out of memory at a
size that should fit, and the log does not say why.

ckptdoctor counts the calls of the submodules inside each layer, in the forward pass and in backward. If the function skips
layers on purpose, the finding is a note. On purpose means one of these:

- The function skips the same layers in every step, at even distances, and memory use falls accordingly.
- The function recomputes only the layers that are trained.
- The function moves activations to the CPU instead.

If ckptdoctor cannot tell whether layers are skipped on purpose, the finding is a warning.""",
    links=(),
    judge=judge,
    implies=("CKPT008",),
    assertion=ASSERTION,
)
