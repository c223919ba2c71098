"""CKPT010: the step fails with checkpointing, and not without."""

from __future__ import annotations

from ckptdoctor.model.evidence import Place
from ckptdoctor.rules.case import Case, Fired, Rule, innermost_own
from ckptdoctor.words.wording import engines_in_words


def judge(case: Case) -> Fired | None:
    """Fires on an exception, a crash or a hang that the same step without checkpointing does not have."""
    evidence = case.evidence
    if not case.is_checkpointed or evidence.ended not in ("raised", "crashed", "timeout"):
        return None
    if case.ended_before_checkpointing or (evidence.error and evidence.error.needs_cuda) or case.fails_to_import:
        return None
    control = case.control()
    if control is None or control.ended != "returned":
        return None
    under = "" if case.spec.engine == "none" else f" under {engines_in_words([case.spec.engine])}"
    what = {"raised": "raises", "crashed": "kills the process", "timeout": "hangs"}[evidence.ended]
    return Fired(
        title=f"{case.spec.function} {what} where the same step without checkpointing runs",
        detail=f"In {evidence.during or 'the step'}{under}{case.step_text}: {case.happened}",
        culprit=_where(case),
        passed_by=case.passed_by,
    )


def _where(case: Case) -> Place | None:
    error = case.evidence.error
    return (innermost_own(error.frames) if error else None) or case.function


RULE = Rule(
    code="CKPT010",
    name="does-not-run",
    meaning="The step raises, crashes or hangs with checkpointing, and runs without it.",
    explanation="""\
The same model under the same engine trains without checkpointing, and fails with this checkpoint function in a way that no
other rule explains: another exception, a killed process, a step that never ends.""",
    links=("https://github.com/NVIDIA-NeMo/Automodel/issues/1621",),
    judge=judge,
)
