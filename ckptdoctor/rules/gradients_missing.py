"""CKPT004: parameters get no gradient."""

from __future__ import annotations

import re

from ckptdoctor.rules.common.case import Case
from ckptdoctor.rules.common.log import InLog, LogContext, LogError, LogVerdict, LogWarning, Message
from ckptdoctor.rules.common.reproduction import GRADIENTS, PLAIN_GRADIENTS, Assertion, accumulates
from ckptdoctor.rules.common.rule import Rule, RuleHit
from ckptdoctor.words.wording import listed


def judge(case: Case) -> RuleHit | None:
    """Fires when a parameter that has a gradient without checkpointing has none with it."""
    gradients = case.evidence.gradients
    if gradients is not None and not gradients.missing and case.evidence.accumulated:
        gradients = case.evidence.accumulated
    if not case.is_checkpointed or gradients is None or not gradients.missing:
        return None
    control = case.control()
    if control is not None and control.gradients is not None and control.gradients.missing:
        return None
    return RuleHit(
        title=f"{case.spec.function} loses gradients{case.variant_text}: parameters are never trained, and nothing says so",
        detail=(
            f"No gradient reached {listed(gradients.missing)}, which have one without checkpointing. The optimizer leaves "
            f"such parameters as they are.{_unless(case)}"
        ),
        culprit=case.function,
        passed_by=case.passed_by,
    )


def _unless(case: Case) -> str:
    if case.spec.variant != "frozen" and "torch:reentrant" not in case.evidence.torch_too:
        return ""
    return " It does not happen once `model.enable_input_require_grads()` was called, as PEFT does."


# In a log


_NO_GRAPH = re.compile(r"element \d{1,4}(?: or \d{1,4})? of tensors does not require grad")

_WARNING = "None of the inputs have requires_grad=True"
"""What torch warns of when nothing that enters a reentrant checkpoint requires grad."""

_FIXES = [
    "If the embeddings are frozen, as under PEFT: call `model.enable_input_require_grads()` before training.",
    "If the model accepts non-reentrant checkpointing: set `gradient_checkpointing_kwargs={'use_reentrant': False}`.",
]


def judge_log(error: LogError, context: LogContext) -> LogVerdict | None:
    """Recognises a loss without a graph, where checkpointing is to blame for it."""
    if not _NO_GRAPH.search(error.message):
        return None
    frames = [one.place for one in error.frames if one.is_checkpoint_function or one.passes_layer]
    is_warned = _WARNING in context.warnings
    if frames or is_warned:
        shown = "torch's warning about the inputs" if is_warned else "the traceback"
        return LogVerdict(
            "ours",
            "Gradients are lost: nothing that enters the reentrant checkpoint requires grad, so the loss has no graph "
            f"({shown} shows it).",
            frames[-1] if frames else None,
            fixes=_FIXES,
        )
    if context.is_checkpointing:
        return LogVerdict(
            "suspected",
            f"It looks like {CODE}: the loss has no graph, and the text says that checkpointing is used; under reentrant "
            "checkpointing that is so when nothing that enters a checkpoint requires grad.",
            doubts=[
                "torch's warning about the inputs of a checkpoint is not in the text; a loss loses its graph otherwise too."
            ],
            fixes=_FIXES,
        )
    return LogVerdict(
        "not ours",
        f"{error.text}. Neither torch's warning about checkpoint inputs nor a checkpoint function is in the text.",
        doubts=[f"Gradients lost under reentrant checkpointing ({CODE}) end like this as well, after that warning."],
    )


CODE = "CKPT004"

IN_LOG = InLog(
    judge_log,
    messages=(Message(_NO_GRAPH, "RuntimeError", "require"),),
    warning=LogWarning(
        _WARNING,
        alone=LogVerdict(
            "suspected",
            f"It looks like {CODE}: torch warns that nothing that enters a checkpoint requires grad; whether anything in "
            "there is to be trained is not in the text.",
            fixes=_FIXES,
        ),
        beside=f"torch warns that nothing that enters a checkpoint requires grad ({CODE}); what is frozen on purpose makes "
        "it warn as well.",
    ),
)

ASSERTION = Assertion(
    "parameters without a gradient",
    GRADIENTS
    + """\
missing = [name for name, one in plain.items() if one.any() and (name not in now or not now[name].any())]
assert not missing, f"parameters without a gradient: {missing}"
""",
    before=PLAIN_GRADIENTS,
    needs_second_step=accumulates(lambda gradients: [*gradients.missing]),
)

RULE = Rule(
    code=CODE,
    name="gradients-missing",
    meaning="Trainable parameters get no gradient under checkpointing.",
    explanation="""\
A parameter that gets a gradient without checkpointing gets none with it (or zeros, under ZeRO), and is silently left
untrained. The usual cause is a reentrant checkpoint function whose inputs do not require grad: with frozen embeddings the
first layer's input does not, so autograd never enters the layer. A checkpoint function that detaches its output or runs
the layer without recomputation under `no_grad` does the same.

For frozen embeddings, `model.enable_input_require_grads()` or `use_reentrant=False` helps.""",
    links=("https://github.com/huggingface/transformers/issues/23170",),
    judge=judge,
    implies=("CKPT002", "CKPT008"),
    in_log=IN_LOG,
    assertion=ASSERTION,
)
