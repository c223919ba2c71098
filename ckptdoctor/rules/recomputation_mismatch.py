"""CKPT007: torch finds that recomputation gave something else."""

from __future__ import annotations

from ckptdoctor import catalog
from ckptdoctor.model.evidence import Place
from ckptdoctor.planning.plan import TORCH
from ckptdoctor.rules.case import Case, Fired, Rule, works
from ckptdoctor.words.wording import engines_in_words


def judge(case: Case) -> Fired | None:
    """Fires on torch's CheckpointError."""
    error = case.evidence.error
    if not case.is_checkpointed or error is None or not error.type.endswith("CheckpointError"):
        return None
    under = "" if case.spec.engine == "none" else f" under {engines_in_words([case.spec.engine])}"
    first = error.message.strip().splitlines()[0] if error.message.strip() else ""
    engine = _engine_to_blame(case)
    if engine is not None or case.fails_alike_with_torch():
        also = ", and with its own checkpoint function too" if case.spec.function not in TORCH else ""
        alone = " Without an engine, the same step trains." if engine is not None else ""
        return Fired(
            title=f"Non-reentrant checkpointing and {engines_in_words([case.spec.engine])} do not go together here",
            detail=f"torch raised CheckpointError in backward{under}{also}: {first}{alone}",
            culprit=engine,
        )
    return Fired(
        title=f"{case.spec.function}: what is recomputed in backward is not what the forward pass saved",
        detail=f"torch raised CheckpointError in backward{under}{case.step_text}: {first}",
        culprit=case.function,
        passed_by=case.passed_by,
    )


def _engine_to_blame(case: Case) -> Place | None:
    """DeepSpeed's innermost line, where torch's own function fails under it, and the same step trains without an engine."""
    error, alone = case.evidence.error, case.sibling(engine="none")
    if not catalog.needs(case.spec.engine, "deepspeed") or error is None or alone is None or not works(alone):
        return None
    if case.spec.function not in TORCH and not case.fails_alike_with_torch():
        return None
    return next((frame for frame in reversed(error.frames) if frame.package == "deepspeed"), None)


RULE = Rule(
    code="CKPT007",
    name="recomputation-mismatch",
    meaning="torch raises CheckpointError: recomputation saved other tensors than the forward pass did.",
    explanation="""\
With `use_reentrant=False`, torch checks that the recomputed layer saves the same tensors, by number, shape and type, as
the first run did, and raises `CheckpointError` where it does not:

    torch.utils.checkpoint.CheckpointError: torch.utils.checkpoint: Recomputed values for the following tensors have
    different metadata than during the forward pass.

Something differs between the two runs: parameters that ZeRO 3 has partitioned at one of the two moments, a branch on
training state, autocast, a compiled graph. With `use_reentrant=True` there is no such check.""",
    links=(
        "https://github.com/huggingface/transformers/issues/47254",
        "https://github.com/deepspeedai/DeepSpeed/issues/8130",
        "https://github.com/deepspeedai/DeepSpeed/issues/8148",
    ),
    judge=judge,
    implies=("CKPT010",),
)
