"""CKPT012: the checkpoint function leaves something else than it found."""

from __future__ import annotations

from ckptdoctor.rules.common.case import Case
from ckptdoctor.rules.common.rule import Rule, RuleHit
from ckptdoctor.words.wording import listed


def judge(case: Case) -> RuleHit | None:
    """Fires when a step leaves modes, random numbers, parameters or what is frozen other than they were."""
    changed = list(case.evidence.changed)
    gradients = case.evidence.gradients
    if gradients is not None and gradients.unexpected:
        changed.append(f"gradients of parameters that are frozen ({listed(gradients.unexpected)})")
    if not case.is_checkpointed or not changed:
        return None
    return RuleHit(
        title=f"{case.spec.function} changes {listed(changed)}{case.variant_text}, and leaves it changed",
        detail="The same step without checkpointing leaves all of it as it was. Whatever runs next runs in another state.",
        culprit=case.function,
        passed_by=case.passed_by,
    )


RULE = Rule(
    code="CKPT012",
    name="state-changed",
    meaning="The checkpoint function changes global state or the model, and leaves it changed.",
    explanation="""\
A checkpoint function runs a layer twice and returns its output. Everything else must be as before: the state of random number
generators, the grad mode, autocast, the default dtype, anomaly mode, train and eval mode, which parameters are frozen, their
values, hooks. Where a function leaves one of these changed, the step itself may be right and the next one is not: the same
dropout masks come again, gradients stop, frozen parameters are trained.

It is recognised by comparing all of these before and after steps of a short training run.""",
    links=(),
    judge=judge,
    seen_anyway=True,
)
