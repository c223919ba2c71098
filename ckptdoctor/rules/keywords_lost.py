"""CKPT006: keyword arguments do not reach the layer."""

from __future__ import annotations

from ckptdoctor.model.evidence import Evidence
from ckptdoctor.model.report import Severity
from ckptdoctor.rules.common.case import Case
from ckptdoctor.rules.common.reproduction import Assertion
from ckptdoctor.rules.common.rule import Rule, RuleHit
from ckptdoctor.words.wording import listed

PACKING = frozenset({"cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k"})


def judge(case: Case) -> RuleHit | None:
    """Fires when keyword arguments reach the inside of a layer without checkpointing only."""
    lost = sorted({keyword for one in case.evidence.keywords_lost for keyword in one.keywords})
    if not case.is_checkpointed or not lost or case.evidence.ended == "skipped":
        return None
    by_model = _lost_with_torch_too(case)
    return RuleHit(
        title=f"{_who(case, by_model)} loses keyword arguments on their way to the layer",
        detail=_detail(lost, case.evidence),
        severity=_severity(lost, case),
        culprit=case.passed_by if by_model else case.function,
        passed_by=case.passed_by,
    )


def _lost_with_torch_too(case: Case) -> bool:
    """Whether torch's function loses them as well: then the model never passes them."""
    return any(evidence.keywords_lost for evidence in case.with_torch())


def _who(case: Case, by_model: bool) -> str:
    return f"{case.model_text} under checkpointing" if by_model else case.spec.function


def _detail(lost: list[str], evidence: Evidence) -> str:
    text = f"{listed(lost)} reached the layer without checkpointing, and did not with it."
    if set(lost) <= PACKING:
        text += (
            " They matter to flash-attention with packed sequences, where attention then runs across the borders of "
            "sequences; without packing nothing is lost."
        )
    return text


def _severity(lost: list[str], case: Case) -> Severity:
    """An error when it changes what is computed here; packing's keywords do so with flash-attention only."""
    gradients = case.evidence.gradients
    changed = case.evidence.ended != "returned" or bool(gradients and (gradients.wrong or gradients.missing))
    return "error" if changed or not set(lost) <= PACKING else "warning"


ASSERTION = Assertion(
    "keyword arguments that do not reach the layers",
    """\
lost = {name for child, names in plain.items() for name in names - given.get(child, names)}
lost -= {"use_cache", "past_key_value", "past_key_values", "layer_past", "cache_position"}
assert not lost, f"keyword arguments that do not reach the layers: {sorted(lost)}"
""",
    before="""\
# Notes the keyword arguments that reach the inside of each layer.
layers = next(one for one in model.modules() if isinstance(one, torch.nn.ModuleList))
given = {}


def note(module, args, kwargs):
    names = {name for name, value in kwargs.items() if value is not None}
    given[module] = given.get(module, names) & names


for layer in layers:
    for child in layer.children():
        child.register_forward_pre_hook(note, with_kwargs=True)
model(**inputs)
plain = dict(given)
given.clear()
""",
)

RULE = Rule(
    code="CKPT006",
    name="keywords-lost",
    meaning="Keyword arguments that a layer gets without checkpointing do not reach it with checkpointing.",
    explanation="""\
A layer is called with keyword arguments: an attention mask, position embeddings, flash-attention's sequence borders. A
calling convention that leaves them out, or a checkpoint function that takes the layer out of the callable and calls it
without what was bound into the callable, loses them. Training goes on with another attention than was asked for.

It is recognised inside the layer: which keyword arguments its submodules get, with and without checkpointing. What
transformers itself takes away under checkpointing (the key-value cache) does not count. Keyword arguments that only
packing with flash-attention uses are a warning, since without packing there are none to lose.""",
    links=("https://github.com/huggingface/transformers/issues/35509",),
    judge=judge,
    implies=("CKPT005", "CKPT009", "CKPT010"),
    assertion=ASSERTION,
)
