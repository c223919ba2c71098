"""CKPT011: a backward pass that needs a GPU fails when it is simulated on the CPU."""

from __future__ import annotations

from ckptdoctor.model.evidence import Evidence
from ckptdoctor.rules.common.case import Case
from ckptdoctor.rules.common.log import ErrorText, InLog, LogContext, LogError, LogVerdict
from ckptdoctor.rules.common.measured import at_measured_line
from ckptdoctor.rules.common.rule import Rule, RuleHit
from ckptdoctor.rules.common.soundness import innermost_own, is_sound
from ckptdoctor.words.wording import counted


def judge(case: Case) -> RuleHit | None:
    """Fires if the step fails when simulated on the CPU, with an error that does not involve CUDA."""
    tried = case.evidence.stand_in
    if not case.evidence.forward_only or tried is None or is_sound(tried) or case.is_undecided:
        return None
    if tried.gradients is not None and tried.gradients.confirmed == "checkpointed":
        return None  # the loss shows that the gradients without checkpointing are wrong
    raised_at = innermost_own(tried.error.frames) if tried.error is not None else None
    does, detail = _what(tried)
    return RuleHit(
        title=f"{case.spec.function} {does} when simulated on the CPU{case.variant_text}",
        detail=f"There is no GPU here, so backward was simulated on the CPU. {detail} It is likely to fail on a GPU as well.",
        culprit=raised_at or case.function,
        passed_by=case.passed_by,
        error=tried.error,
    )


def _what(tried: Evidence) -> tuple[str, str]:
    """What the simulated step does, and the details."""
    if tried.error is not None:
        stage = "forward" if tried.during == "forward" else "backward"
        return f"fails in {stage}", "Neither the error nor the line that raised it involves CUDA."
    for gradients in (tried.gradients, tried.accumulated):
        if gradients is not None and (gradients.missing or gradients.wrong):
            missing, wrong = len(gradients.missing), len(gradients.wrong)
            does = "gives wrong gradients" if wrong else "loses gradients"
            again = " after a second step" if gradients is tried.accumulated else ""
            of = f"Of {counted(gradients.compared, 'gradient')}{again}"
            return does, f"{of}, {missing} {'is' if missing == 1 else 'are'} missing and {wrong} wrong."
    return "does not recompute each layer exactly once", "A layer ran too often, or did not run again in backward."


def judge_log(error: LogError, context: LogContext) -> LogVerdict | None:
    """Recognises an error at a line that failed in a measured simulation; the same error appears on a GPU."""
    if error.name not in ("ValueError", "TypeError") or "unpack" not in error.message:
        return None
    return at_measured_line(error, CODE, "when simulated on the CPU", lambda fault: True)


CODE = "CKPT011"

_TEXT = ErrorText(
    "ValueError: too many values to unpack (expected 1)",
    "Any program may end in this line. It is a fault of checkpointing if it is raised in the backward pass of an offloading "
    "checkpoint function, which expects a tuple from the layer and gets a tensor.",
    shown=(
        "Traceback (most recent call last):\n"
        '  File "/envs/train/lib/python3.11/site-packages/axolotl/monkeypatch/gradient_checkpointing/offload_cpu.py", line 55, '
        "in backward\n"
        "    (output,) = ctx.forward_function(hidden_states, *ctx.args)\n"
        "ValueError: too many values to unpack (expected 1)",
    ),
    reports=(
        "https://github.com/hiyouga/LlamaFactory/issues/7709",
        "https://github.com/axolotl-ai-cloud/axolotl/pull/3412",
    ),
)

RULE = Rule(
    code=CODE,
    name="backward-doubtful",
    meaning="A function that needs a GPU in backward fails when simulated on the CPU.",
    explanation="""\
Some checkpoint functions move tensors to CUDA in backward. On a machine without a GPU, ckptdoctor runs the step again and
simulates the GPU on the CPU. What such a function computes in backward does not depend on the device. One example of a
failure: the function unpacks the layer's output as a tuple, but the layer returns a tensor.

The rule fires if the simulated step raises an error that does not involve CUDA, loses gradients or gives wrong gradients.
Such a step is likely to fail on a GPU as well; it was not run on one. If the simulated step itself asks for CUDA, the
function is *not judged* (CKPT900), and ckptdoctor exits with status 3.""",
    links=(),
    judge=judge,
    in_log=InLog(judge_log, texts=(_TEXT,)),
)
