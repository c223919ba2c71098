"""CKPT009: the loss is not finite, or differs from the loss without checkpointing."""

from __future__ import annotations

import math

from ckptdoctor.rules.common.case import Case
from ckptdoctor.rules.common.reproduction import Assertion
from ckptdoctor.rules.common.rule import Rule, RuleHit

TOLERANCE = 1e-4
"""Largest difference, relative to the loss without checkpointing, that counts as equal."""


def judge(case: Case) -> RuleHit | None:
    """Fires if the loss differs from the loss of the step without checkpointing."""
    loss, plain = case.evidence.loss, case.evidence.plain_loss
    if not case.is_checkpointed or case.evidence.during == "forward" or plain is None or not math.isfinite(plain):
        return None
    if case.evidence.ended not in ("returned", "raised") or case.evidence.during not in ("", "backward"):
        return None
    # JSON has no NaN: such a loss arrives as None.
    tolerance = min(case.evidence.rounding or TOLERANCE, TOLERANCE)
    if loss is not None and math.isfinite(loss) and abs(loss - plain) <= tolerance * max(abs(plain), 1e-12):
        return None
    shown = "not a finite number" if loss is None or not math.isfinite(loss) else f"{loss:.8g}"
    return RuleHit(
        title=f"{case.spec.function} changes the loss{case.variant_text}",
        detail=f"The loss of the step is {shown} with checkpointing and {plain:.8g} without.",
        culprit=case.function,
        passed_by=case.passed_by,
    )


ASSERTION = Assertion(
    "the loss is another one",
    """\
loss = float(loss)
assert abs(loss - plain) <= 1e-4 * abs(plain), f"the loss is another one: {loss}, without checkpointing {plain}"
""",
    before="""\
# The measure: the same step without checkpointing.
torch.manual_seed(1)
plain = float(model(**inputs).loss)
""",
    precedes_backward=True,
)

RULE = Rule(
    code="CKPT009",
    name="loss-wrong",
    meaning="The loss under checkpointing is not finite, or differs from the loss without it.",
    explanation="""\
The forward pass computes the same values with and without checkpointing. If the loss differs, the checkpoint function runs
something else than the callable it got, or changes the output.""",
    links=(),
    judge=judge,
    implies=("CKPT005",),
    assertion=ASSERTION,
)
