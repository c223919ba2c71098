"""CKPT008: layers are recomputed, and their activations kept all the same."""

from __future__ import annotations

from ckptdoctor.rules.common.case import Case
from ckptdoctor.rules.common.reproduction import Assertion
from ckptdoctor.rules.common.rule import Rule, RuleHit

FELL = 0.9
"""Share of the bytes saved without checkpointing below which they count as fallen; real functions reach a fifth here."""


def judge(case: Case) -> RuleHit | None:
    """Fires when the bytes kept for backward did not fall, or when memory grows from step to step."""
    evidence = case.evidence
    if not case.is_checkpointed or evidence.ended != "returned":
        return None
    if evidence.grew:
        return _fired(
            case,
            "keeps more memory after every step: training ends out of memory",
            f"Memory in use grows by {evidence.grew} bytes in each step of the same size; without checkpointing it does not.",
        )
    saved, held, control = evidence.saved_bytes, evidence.held_bytes, case.control()
    if saved is None:
        return None
    # An engine may save more by itself; what it saves without checkpointing is the measure then.
    plain = max(saved.plain, control.saved_bytes.checkpointed if control and control.saved_bytes else 0)
    if evidence.steps or evidence.when:
        plain = saved.plain  # a model of another size
    why = "keeps as much for backward as without checkpointing: slower, and no memory saved"
    if saved.checkpointed >= FELL * plain:
        return _fired(
            case, why, f"{saved.checkpointed} bytes were kept for backward with checkpointing, {plain} without."
        )
    if held is not None and held.checkpointed >= FELL * held.plain:
        return _fired(
            case,
            why,
            f"Autograd keeps {saved.checkpointed} bytes for backward with checkpointing, {plain} without. But memory in use "
            f"grew by {held.checkpointed} bytes in the forward pass, {held.plain} without: something else keeps activations.",
        )
    return None


def _fired(case: Case, what: str, detail: str) -> RuleHit:
    return RuleHit(
        title=f"{case.spec.function} {what}",
        detail=detail,
        culprit=case.function,
        passed_by=case.passed_by,
    )


ASSERTION = Assertion(
    "no fewer bytes are kept for backward",
    """\
assert now < 0.9 * plain, f"no fewer bytes are kept for backward: {now} with checkpointing, {plain} without"
""",
    before='''\
parameters = {parameter.data_ptr() for parameter in model.parameters()}


def loss_and_bytes(run):
    """The loss, and the bytes that are kept for backward."""
    kept = {}

    def pack(tensor):
        if tensor.data_ptr() not in parameters:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = run(**inputs).loss
    return loss, sum(kept.values())


plain = loss_and_bytes(model)[1]
''',
    forward="loss, now = loss_and_bytes($run)\n",
)

RULE = Rule(
    code="CKPT008",
    name="memory-not-saved",
    meaning="Checkpointing is on, and as many bytes as without it are kept for backward.",
    explanation="""\
The point of checkpointing is to keep less for backward. A function that runs the layer with gradients enabled and
recomputes it as well pays the time and saves nothing.

It is recognised by adding up, in the forward pass, the tensors that autograd keeps, parameters and repeats left out, and by the
memory in use, whoever holds it: a list, a context, a copy on the CPU. The rule fires as well when memory in use grows from
step to step.""",
    links=(),
    judge=judge,
    assertion=ASSERTION,
)
