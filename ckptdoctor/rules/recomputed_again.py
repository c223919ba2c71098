"""CKPT003: layers are recomputed more than once."""

from __future__ import annotations

from ckptdoctor.rules.common.case import Case
from ckptdoctor.rules.common.reproduction import RUNS_OF_LAYERS, Assertion
from ckptdoctor.rules.common.rule import Rule, RuleHit


def judge(case: Case) -> RuleHit | None:
    """Fires when a layer's forward ran more than twice."""
    if not case.is_checkpointed or case.evidence.ended != "returned":
        return None
    again = [layer for layer in case.evidence.layers if layer.forwards > 2 * layer.plain]
    if not again:
        return None
    worst = max(again, key=lambda layer: layer.forwards / layer.plain)
    if case.spec.setup.fsdp_checkpointing:
        return RuleHit(
            title=f"{case.spec.function} and FSDP's own activation checkpointing both checkpoint: same loss, slower training",
            detail=(
                f"{len(again)} of {len(case.evidence.layers)} layers ran {worst.forwards // worst.plain} times in one "
                "training step: `fsdp_config.activation_checkpointing` wraps what the trainer checkpoints already. "
                "Checkpointing needs two runs."
            ),
            culprit=case.evidence.wrapper,
        )
    return RuleHit(
        title=f"{case.spec.function} recomputes layers more than once: same loss, slower training",
        detail=(
            f"{len(again)} of {len(case.evidence.layers)} layers ran {worst.forwards // worst.plain} times in one "
            f"training step{case.step_text}. Checkpointing needs two runs."
        ),
        culprit=case.function,
        passed_by=case.passed_by,
    )


ASSERTION = Assertion(
    "layers that run more than twice in a step",
    """\
again = [index for index, count in enumerate(runs) if count > 2]
assert not again, f"layers that run more than twice in a step: {again}, {runs} times"
""",
    before=RUNS_OF_LAYERS,
)

RULE = Rule(
    code="CKPT003",
    name="recomputed-again",
    meaning="A layer's forward runs more than twice in a training step.",
    explanation="""\
Two mechanisms checkpoint the same layer. For example, a trainer wraps layers that already checkpoint themselves, or
`fsdp_config.activation_checkpointing` is on beside the trainer's own setting. Loss and gradients stay right. Each extra
recomputation costs the time of one forward pass.

ckptdoctor counts the calls of the submodules inside each layer. One call in the forward pass and one in backward are right.""",
    links=("https://github.com/unslothai/unsloth/issues/2674",),
    judge=judge,
    assertion=ASSERTION,
)
