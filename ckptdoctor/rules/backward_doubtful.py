"""CKPT011: a backward pass that needs a GPU fails when it is simulated on the CPU."""

from __future__ import annotations

from ckptdoctor.model.evidence import Evidence
from ckptdoctor.rules.common.case import Case, innermost_own, is_sound
from ckptdoctor.rules.common.log import InLog, LogContext, LogError, LogVerdict
from ckptdoctor.rules.common.measured import at_measured_line
from ckptdoctor.rules.common.rule import Rule, RuleHit
from ckptdoctor.words.wording import counted


def judge(case: Case) -> RuleHit | None:
    """Fires when the step fails with the CPU in the place of the missing GPU, for a reason that has no part of CUDA in it."""
    tried = case.evidence.stand_in
    if not case.evidence.forward_only or tried is None or is_sound(tried) or case.is_undecided:
        return None
    if tried.gradients is not None and tried.gradients.confirmed == "checkpointed":
        return None  # the loss shows that the step without checkpointing is the wrong one
    raised_at = innermost_own(tried.error.frames) if tried.error is not None else None
    does, detail = _what(tried)
    return RuleHit(
        title=f"{case.spec.function} {does} when simulated on the CPU{case.variant_text}",
        detail=f"There is no GPU here. The failure has nothing to do with the device. {detail}",
        culprit=raised_at or case.function,
        passed_by=case.passed_by,
        error=tried.error,
    )


def _what(tried: Evidence) -> tuple[str, str]:
    """What the simulated step does, and the details."""
    if tried.error is not None:
        return "fails in backward", "It shows on a GPU too."
    for gradients in (tried.gradients, tried.accumulated):
        if gradients is not None and (gradients.missing or gradients.wrong):
            missing, wrong = len(gradients.missing), len(gradients.wrong)
            does = "gives wrong gradients" if wrong else "loses gradients"
            again = " after a second step" if gradients is tried.accumulated else ""
            of = f"Of {counted(gradients.compared, 'gradient')}{again}"
            return does, f"{of}, {missing} {'is' if missing == 1 else 'are'} missing and {wrong} wrong."
    return "does not recompute each layer exactly once", "Layers ran too often, or not again in backward."


def judge_log(error: LogError, context: LogContext) -> LogVerdict | None:
    """Recognises a failure at a line that was seen to fail in the simulation, with an error that a GPU gives as well."""
    if error.name not in ("ValueError", "TypeError") or "unpack" not in error.message:
        return None
    return at_measured_line(error, CODE, "when simulated on the CPU", lambda fault: True)


CODE = "CKPT011"

RULE = Rule(
    code=CODE,
    name="backward-doubtful",
    meaning="A function that needs a GPU in backward fails when simulated on the CPU.",
    explanation="""\
Some checkpoint functions send tensors to CUDA in backward. Where there is no GPU, the step is taken once more with the CPU
in place of the GPU: what such a function computes in backward does not depend on the device. It fails if it unpacks what
a layer returns as a tuple, say, and the release of transformers has layers that return a tensor.

The rule fires when the simulated step raises an error with no part of CUDA in it, loses gradients or gives wrong ones. Such a
failure shows on a GPU too. Where the simulated step itself asks for CUDA, nothing is known: the function is *not judged*
(CKPT900), and ckptdoctor ends with status 3.""",
    links=(),
    judge=judge,
    in_log=InLog(judge_log),
)
