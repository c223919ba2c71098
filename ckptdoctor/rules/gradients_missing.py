"""CKPT004: parameters get no gradient."""

from __future__ import annotations

from ckptdoctor.rules.case import Case, Fired, Rule
from ckptdoctor.words.wording import listed


def judge(case: Case) -> Fired | None:
    """Fires when a parameter that has a gradient without checkpointing has none with it."""
    gradients = case.evidence.gradients
    if gradients is not None and not gradients.missing and case.evidence.accumulated:
        gradients = case.evidence.accumulated
    if not case.is_checkpointed or gradients is None or not gradients.missing:
        return None
    control = case.control()
    if control is not None and control.gradients is not None and control.gradients.missing:
        return None
    return Fired(
        title=f"{case.spec.function} loses gradients{case.variant_text}: parameters are never trained, and nothing says so",
        detail=(
            f"No gradient reached {listed(gradients.missing)}, which have one without checkpointing. The optimizer leaves "
            f"such parameters as they are.{_unless(case)}"
        ),
        culprit=case.function,
        passed_by=case.passed_by,
    )


def _unless(case: Case) -> str:
    if case.spec.variant != "frozen" and "torch:reentrant" not in case.evidence.torch_too:
        return ""
    return " It does not happen once `model.enable_input_require_grads()` was called, as PEFT does."


RULE = Rule(
    code="CKPT004",
    name="gradients-missing",
    meaning="Trainable parameters get no gradient under checkpointing.",
    explanation="""\
A parameter that gets a gradient without checkpointing gets none with it (or zeros, under ZeRO), and is silently left
untrained. The usual cause is a reentrant checkpoint function whose inputs do not require grad: with frozen embeddings the
first layer's input does not, so autograd never enters the layer. A checkpoint function that detaches its output or runs
the layer without recomputation under `no_grad` does the same.

For frozen embeddings, `model.enable_input_require_grads()` or `use_reentrant=False` helps.""",
    links=("https://github.com/huggingface/transformers/issues/23170",),
    judge=judge,
    implies=("CKPT002", "CKPT008"),
)
