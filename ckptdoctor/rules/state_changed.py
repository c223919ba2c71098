"""CKPT012: the checkpoint function changes state and does not restore it."""

from __future__ import annotations

from ckptdoctor.rules.common.case import Case
from ckptdoctor.rules.common.rule import Rule, RuleHit
from ckptdoctor.words.wording import listed


def judge(case: Case) -> RuleHit | None:
    """Fires if a step changes modes, random states, parameters or which parameters are frozen, and does not restore them."""
    changed = list(case.evidence.changed)
    gradients = case.evidence.gradients
    if gradients is not None and gradients.unexpected:
        changed.append(f"gradients of parameters that are frozen ({listed(gradients.unexpected)})")
    if not case.is_checkpointed or not changed:
        return None
    return RuleHit(
        title=f"{case.spec.function} changes {listed(changed)}{case.variant_text} and does not restore it",
        detail="The same step without checkpointing restores everything. The code that runs next runs in a changed state.",
        culprit=case.function,
        passed_by=case.passed_by,
    )


RULE = Rule(
    code="CKPT012",
    name="state-changed",
    meaning="The checkpoint function changes global state or the model and does not restore it.",
    explanation="""\
A checkpoint function runs a layer twice and returns its output. Nothing else may change: random states, grad mode, autocast,
default dtype, anomaly mode, train and eval mode, hooks, which parameters are frozen, parameter values. If a function changes
one of these and does not restore it, the current step may be right and the next steps are wrong. Examples: the same dropout
mask in every step, missing gradients, frozen parameters that are trained.

ckptdoctor compares this state before and after each step of a short training run.""",
    links=(),
    judge=judge,
    seen_anyway=True,
)
