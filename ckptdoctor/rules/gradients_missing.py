"""CKPT004: parameters get no gradient."""

from __future__ import annotations

import re

from ckptdoctor.rules.common.case import Case
from ckptdoctor.rules.common.log import ErrorText, InLog, LogContext, LogError, LogVerdict, LogWarning, Message
from ckptdoctor.rules.common.reproduction import GRADIENTS, PLAIN_GRADIENTS, Assertion, accumulates
from ckptdoctor.rules.common.rule import Rule, RuleHit
from ckptdoctor.rules.common.soundness import works
from ckptdoctor.words.wording import first_line, listed


def judge(case: Case) -> RuleHit | None:
    """Fires when a parameter that has a gradient without checkpointing has none with it."""
    control = case.control()
    if not case.is_checkpointed:
        return None
    if _has_no_graph(case) and control is not None and control.ended == "returned":
        return _fired(
            case,
            f"In backward: {first_line(case.happened)}. The loss has no graph with checkpointing: no trained parameter leads "
            f"to it. Without checkpointing, the same step trains.{_unless(case)}",
        )
    gradients = case.evidence.gradients
    if gradients is not None and not gradients.missing and case.evidence.accumulated:
        gradients = case.evidence.accumulated
    if gradients is None or not gradients.missing:
        return None
    if control is not None and control.gradients is not None and control.gradients.missing:
        return None
    return _fired(
        case,
        f"No gradient reached {listed(gradients.missing)}. Without checkpointing, a gradient does. The optimizer does not "
        f"change parameters without a gradient.{_unless(case)}",
    )


def _fired(case: Case, detail: str) -> RuleHit:
    silently = "" if case.evidence.error else ": parameters stay untrained, without any error"
    return RuleHit(
        title=f"{case.spec.function} loses gradients{case.variant_text}{silently}",
        detail=detail,
        culprit=case.function,
        passed_by=case.passed_by,
    )


def _has_no_graph(case: Case) -> bool:
    """Whether the step ended in backward because the loss has no graph."""
    error = case.evidence.error
    return error is not None and case.evidence.during == "backward" and bool(_NO_GRAPH.search(error.message))


def _unless(case: Case) -> str:
    prepared = case.with_prepared_inputs()
    if prepared is not None and works(prepared):
        return " With `model.enable_input_require_grads()` before training, the same step trains."
    if case.spec.variant != "frozen" and "torch:reentrant" not in case.evidence.torch_too:
        return ""
    return " To prevent it, call `model.enable_input_require_grads()` before training, as PEFT does."


# In a log


_NO_GRAPH = re.compile(r"element \d{1,4}(?: or \d{1,4})? of tensors does not require grad")

_WARNING = "None of the inputs have requires_grad=True"
"""torch's warning if no input of a reentrant checkpoint requires a gradient."""

_FIXES = [
    "If the embeddings are frozen, as under PEFT: call `model.enable_input_require_grads()` before training.",
    "If the model accepts non-reentrant checkpointing: set `gradient_checkpointing_kwargs={'use_reentrant': False}`.",
]


def judge_log(error: LogError, context: LogContext) -> LogVerdict | None:
    """Recognises a loss without a graph, if checkpointing is the cause."""
    if not _NO_GRAPH.search(error.message):
        return None
    frames = [one.place for one in error.frames if one.is_checkpoint_function or one.passes_layer]
    is_warned = _WARNING in context.warnings
    if frames or is_warned:
        shown = "torch's warning about the inputs" if is_warned else "the traceback"
        return LogVerdict(
            "ours",
            "Gradients are lost: no input of the reentrant checkpoint requires a gradient, so the loss has no graph "
            f"({shown} shows it).",
            frames[-1] if frames else None,
            fixes=_FIXES,
        )
    if context.is_checkpointing:
        return LogVerdict(
            "suspected",
            f"It looks like {CODE}: the loss has no graph, and the text says that checkpointing is used. Reentrant "
            "checkpointing has this effect if no input of a checkpoint requires a gradient.",
            doubts=[
                "torch's warning about checkpoint inputs is not in the text. Other faults also leave a loss without a graph."
            ],
            fixes=_FIXES,
        )
    return LogVerdict(
        "not ours",
        f"{error.text}. Neither torch's warning about checkpoint inputs nor a checkpoint function is in the text.",
        doubts=[f"Gradients lost under reentrant checkpointing ({CODE}) end in the same error, after that warning."],
    )


CODE = "CKPT004"

IN_LOG = InLog(
    judge_log,
    messages=(Message(_NO_GRAPH, "RuntimeError", "require"),),
    warning=LogWarning(
        _WARNING,
        alone=LogVerdict(
            "suspected",
            f"It looks like {CODE}: torch warns that no input of a checkpoint requires a gradient. The text does not say "
            "whether parameters inside should be trained.",
            fixes=_FIXES,
        ),
        beside=f"torch warns that no input of a checkpoint requires a gradient ({CODE}). torch also warns if layers are frozen "
        "on purpose.",
    ),
    texts=(
        ErrorText(
            "UserWarning: None of the inputs have requires_grad=True. Gradients will be None",
            "torch warns that no input of a reentrant checkpoint requires a gradient. Parameters inside of it then get no "
            "gradient. This is no fault if they are frozen on purpose.",
            reports=(
                "https://github.com/hiyouga/LlamaFactory/issues/6357",
                "https://github.com/huggingface/transformers/issues/23170",
                "https://github.com/huggingface/peft/issues/742",
            ),
        ),
        ErrorText(
            "RuntimeError: element 0 of tensors does not require grad and does not have a grad_fn",
            "The loss has no graph: no trained parameter leads to it. Many faults end in this line. Checkpointing is the cause "
            "if torch warned before that no input of a checkpoint requires a gradient. The line alone does not show it.",
            shown=(
                "UserWarning: None of the inputs have requires_grad=True. Gradients will be None\n"
                '  warnings.warn("None of the inputs have requires_grad=True. Gradients will be None")\n'
                "RuntimeError: element 0 of tensors does not require grad and does not have a grad_fn",
            ),
            reports=(
                "https://github.com/huggingface/transformers/issues/26377",
                "https://github.com/huggingface/peft/issues/742",
                "https://github.com/huggingface/trl/issues/3089",
            ),
        ),
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
A parameter gets a gradient without checkpointing. With checkpointing, the parameter gets no gradient, or zeros under ZeRO.
The parameter is not trained, and no error is raised. Usual causes:

- Reentrant checkpointing, and no input of the layer requires a gradient. With frozen embeddings, the input of the first
  layer does not require one, so autograd skips the layer.
- The checkpoint function detaches its output.
- The checkpoint function runs the layer under `no_grad` and does not run it again in backward.

Fix for frozen embeddings: call `model.enable_input_require_grads()`, or set `use_reentrant=False`.""",
    links=("https://github.com/huggingface/transformers/issues/23170",),
    judge=judge,
    implies=("CKPT002", "CKPT008", "CKPT010"),
    in_log=IN_LOG,
    assertion=ASSERTION,
)
