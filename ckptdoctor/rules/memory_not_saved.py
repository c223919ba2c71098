"""CKPT008: layers are recomputed, but their activations are kept as well."""

from __future__ import annotations

from ckptdoctor.model.evidence import KeptBytes, SavedBytes
from ckptdoctor.rules.common.case import Case
from ckptdoctor.rules.common.reproduction import Assertion
from ckptdoctor.rules.common.rule import Rule, RuleHit

FELL = 0.9
"""Bytes count as fallen below this share of the bytes without checkpointing; real functions reach a fifth."""

LEAST = 0.01
"""Share of the bytes that torch's own function must save, to tell what the layers keep from what is kept outside of them."""

KEPT = 3
"""Times its output that a layer of a job may leave in use; without checkpointing it is ten times and more."""

SMALL = 2_000_000
"""Bytes beside it that a layer may leave, such as random states and what autocast keeps: they count in tiny models only."""


def judge(case: Case) -> RuleHit | None:
    """Fires when the bytes kept for backward did not fall, or when memory grows from step to step."""
    evidence = case.evidence
    if not case.is_checkpointed or evidence.ended != "returned":
        return None
    if evidence.grew:
        return _fired(
            case,
            "keeps more memory after every step: training will run out of memory",
            f"Memory in use grows by {evidence.grew} bytes in each step of the same size. Without checkpointing, it does not.",
        )
    if evidence.kept is not None and _keeps_much(evidence.kept):
        return _keeps(case, evidence.kept)
    saved, held, control = evidence.saved_bytes, evidence.held_bytes, case.control()
    if saved is None:
        return None
    # An engine may save more by itself. Then its bytes without checkpointing are the reference.
    plain = max(saved.plain, control.saved_bytes.checkpointed if control and control.saved_bytes else 0)
    if evidence.steps or evidence.when:
        plain = saved.plain  # a model of another size
    why = "keeps as much for backward as without checkpointing: slower, and no memory is saved"
    if saved.checkpointed >= FELL * plain and not _rest_is_elsewhere(case, saved, plain):
        return _fired(
            case, why, f"{saved.checkpointed} bytes were kept for backward with checkpointing, {plain} without."
        )
    if held is not None and held.checkpointed >= FELL * held.plain:
        return _fired(
            case,
            why,
            f"Autograd keeps {saved.checkpointed} bytes for backward with checkpointing, {plain} without. But memory in use "
            f"grew by {held.checkpointed} bytes in the forward pass, {held.plain} without: activations are kept elsewhere.",
        )
    return None


def _rest_is_elsewhere(case: Case, saved: SavedBytes, plain: int) -> bool:
    """Whether most is kept outside of the layers, and the function saves what torch's own function does."""
    torchs = [one.saved_bytes.checkpointed for one in case.with_torch() if one.saved_bytes is not None]
    best = plain - min(torchs, default=plain)
    return best >= LEAST * plain and plain - saved.checkpointed >= FELL * best


def _keeps_much(kept: KeptBytes) -> bool:
    return kept.each > KEPT * kept.output + SMALL


def _keeps(case: Case, kept: KeptBytes) -> RuleHit:
    """The hit on a job: there is no step without checkpointing to compare with, so it is a warning."""
    return RuleHit(
        title=f"{case.spec.function} keeps much more than the output of each layer for backward",
        detail=(
            f"After each layer of the first forward pass, {kept.each:,} bytes more were in use (the median of {kept.layers} "
            f"layers). A layer's output has {kept.output:,} bytes, and checkpointing has to keep no more than that."
        ),
        severity="warning",
        culprit=case.function,
        passed_by=case.passed_by,
    )


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
    meaning="Checkpointing is on, but as many bytes are kept for backward as without it.",
    explanation="""\
Checkpointing must keep less memory for backward. A function that runs the layer with gradients enabled and also recomputes
the layer takes more time and saves no memory.

ckptdoctor adds up the tensors that autograd keeps in the forward pass, without parameters and duplicates. It also measures
the memory in use, because a function may keep activations in a list, in its context or as a copy on the CPU. The rule also
fires if memory in use grows from step to step.""",
    links=(),
    judge=judge,
    assertion=ASSERTION,
)
