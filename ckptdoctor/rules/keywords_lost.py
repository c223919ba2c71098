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
    """Fires if keyword arguments reach the inside of a layer only without checkpointing."""
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
    text = f"{listed(lost)} reach the layer without checkpointing and do not reach it with checkpointing."
    if set(lost) <= PACKING:
        text += (
            " Flash-attention needs them for packed sequences. Without them, attention crosses from one packed sequence "
            "into the next. Jobs without packing are not affected."
        )
    return text


def _severity(lost: list[str], case: Case) -> Severity:
    """An error if their loss changes what is computed here. Keywords for packing matter only with flash-attention."""
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
A layer is called with keyword arguments, such as an attention mask, position embeddings, or flash-attention's lengths of
packed sequences. Under checkpointing they get lost in one of two places:

- The model does not pass them to the checkpoint function.
- The checkpoint function takes the layer out of a `functools.partial` and calls the layer without the keyword arguments of
  the partial.

Training continues with another attention than the job asks for.

ckptdoctor compares the keyword arguments that the submodules of each layer get, with and without checkpointing. The key-value
cache does not count: transformers removes the cache under checkpointing on purpose. Keyword arguments that only packing with
flash-attention uses are a warning, because jobs without packing do not have them.""",
    links=("https://github.com/huggingface/transformers/issues/35509",),
    judge=judge,
    implies=("CKPT005", "CKPT009", "CKPT010"),
    assertion=ASSERTION,
)
