"""CKPT011: what the CPU can tell of a backward pass that needs a GPU, and it is not good."""

from __future__ import annotations

from ckptdoctor.evidence import Evidence
from ckptdoctor.rules.case import Case, Fired, Rule, is_sound
from ckptdoctor.wording import error_line


def judge(case: Case) -> Fired | None:
    """Fires when the step fails with the CPU in the place of a GPU that is not there."""
    tried = case.evidence.stand_in
    if tried is None or is_sound(tried) or (tried.error is not None and tried.error.needs_cuda):
        return None
    if tried.error is None and case.spec.setup.precision != "fp32":
        return None  # what such functions do about autocast is bound to the device
    return Fired(
        title=f"{case.spec.function} fails in backward with the CPU in the place of the GPU{case.variant_text}",
        detail=f"There is no GPU here to show it for certain. {_what(tried)}",
        severity="warning",
        culprit=tried.error.frames[-1] if tried.error is not None and tried.error.frames else case.function,
        handed_over_by=case.handed_over_by,
    )


def _what(tried: Evidence) -> str:
    if tried.error is not None:
        return error_line(tried.error)
    gradients = tried.gradients
    if gradients is not None and (gradients.missing or gradients.wrong):
        return f"{len(gradients.missing)} gradients are missing and {len(gradients.wrong)} are wrong."
    return "Layers were not recomputed exactly once."


RULE = Rule(
    code="CKPT011",
    name="backward-doubtful",
    meaning="A function that needs a GPU in backward fails there with the CPU in its place.",
    explanation="""\
Some checkpoint functions send tensors to CUDA in backward. Where there is no GPU they are judged on their forward pass. What
they compute in backward does not depend on where, so the step is taken once more with the CPU in the place of the GPU. When
that fails, the function very likely fails on a GPU too: it unpacks what a layer returns as a tuple, say, from a release of
transformers whose layers return a tensor.

It is a warning, since only a GPU can show it for certain. Nothing is offered as a remedy that fails this way.""",
    links=(),
    judge=judge,
)
