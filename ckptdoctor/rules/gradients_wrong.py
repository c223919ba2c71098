"""CKPT005: gradients differ from those of the same model without checkpointing."""

from __future__ import annotations

from collections.abc import Sequence

from ckptdoctor.model.evidence import Arithmetic
from ckptdoctor.rules.common.case import Case
from ckptdoctor.rules.common.reproduction import GRADIENTS, PLAIN_GRADIENTS, Assertion, accumulates
from ckptdoctor.rules.common.rule import Rule, RuleHit
from ckptdoctor.words.wording import listed


def judge(case: Case) -> RuleHit | None:
    """Fires if a gradient differs from the step without checkpointing, and the engine alone does not change the gradient."""
    gradients, when = case.evidence.gradients, ""
    if gradients is not None and not gradients.wrong and case.evidence.accumulated:
        gradients, when = case.evidence.accumulated, " after a second step"
    if case.is_checkpointed and gradients is not None and gradients.hidden and not gradients.wrong:
        return _hides(case, gradients.hidden)
    if case.is_checkpointed and case.evidence.arithmetic and not (gradients and gradients.wrong):
        return _in_other_arithmetic(case, case.evidence.arithmetic)
    if not case.is_checkpointed or gradients is None or not gradients.wrong:
        return None
    control = case.control()
    if control is not None and control.gradients is not None and control.gradients.wrong:
        return None
    if _plain_is_wrong(case):
        return None
    worst = max(gradients.wrong, key=lambda one: one.difference)
    reentrant = case.wrong_as_torchs_reentrant()
    function = "Reentrant checkpointing" if reentrant else case.spec.function
    return RuleHit(
        title=f"{function} gives wrong gradients{case.variant_text}: training continues without any error",
        detail=(
            f"{len(gradients.wrong)} of {gradients.compared} compared gradients differ{when} from those "
            f"without checkpointing. The largest difference is in {worst.parameter}: "
            f"{worst.difference:.2g} times the largest value of the right gradient."
            f"{_because(case)}{_with_torch(case) if reentrant else ''}"
        ),
        culprit=None if reentrant else case.function,
        passed_by=case.passed_by,
    )


def _with_torch(case: Case) -> str:
    own = case.spec.function == "torch:reentrant"
    also = "" if own else " The same gradients are wrong with torch's own reentrant function."
    return f"{also} With torch's non-reentrant function, they are right."


def _hides(case: Case, hidden: Sequence[str]) -> RuleHit:
    return RuleHit(
        title=f"{case.spec.function} hides gradients that are NaN or infinite: the optimizer takes a step that it should skip",
        detail=f"Without checkpointing, {listed(hidden)} are NaN or infinite in this step. With it, they are finite.",
        culprit=case.function,
        passed_by=case.passed_by,
    )


def _in_other_arithmetic(case: Case, layers: Sequence[Arithmetic]) -> RuleHit:
    one = layers[0]
    return RuleHit(
        title=f"{case.spec.function} recomputes in another precision than the forward pass{case.variant_text}",
        detail=f"{one.layer} ran in {one.forward} in the forward pass and in {one.recomputed} in recomputation.",
        culprit=case.function,
        passed_by=case.passed_by,
    )


def _because(case: Case) -> str:
    if case.spec.variant != "dropout":
        return ""
    return " Without dropout, they are right: recomputation draws other random numbers than the forward pass."


def _plain_is_wrong(case: Case) -> bool:
    """Whether the loss shows that it is the step without checkpointing whose gradients are wrong."""
    here = [case.evidence, case.sibling(engine="none")]
    return any(
        one is not None and one.gradients is not None and one.gradients.confirmed == "checkpointed" for one in here
    )


ASSERTION = Assertion(
    "gradients that differ from those without checkpointing",
    GRADIENTS
    + """\
both = {name: (now[name], one) for name, one in plain.items() if one.any() and name in now}
off = {name: float((one - other).abs().max() / other.abs().max()) for name, (one, other) in both.items()}
wrong = {name: value for name, value in off.items() if not value <= 1e-4}
assert not wrong, f"gradients that differ from those without checkpointing: {wrong}"
""",
    before=PLAIN_GRADIENTS,
    needs_second_step=accumulates(lambda gradients: [*gradients.wrong]),
)

RULE = Rule(
    code="CKPT005",
    name="gradients-wrong",
    meaning="Gradients under checkpointing differ from those without it.",
    explanation="""\
Recomputation must give exactly the values of the forward pass. If it does not, the loss of the step is right and the
gradients are wrong. Usual causes: the function drops or changes arguments in recomputation, does not restore the random state
(dropout), or scales the output.

ckptdoctor compares the gradient of every parameter, in fp32, with the same step without checkpointing. Differences up to a
ten-thousandth of the gradient's largest value are ignored. ckptdoctor then changes the parameters a little and measures the
loss, to find out which of the two gradients is right. So a wrong kernel in the step without checkpointing is not blamed on
the checkpoint function.""",
    links=(),
    judge=judge,
    assertion=ASSERTION,
)
