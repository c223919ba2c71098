"""CKPT010: the step fails with checkpointing and runs without."""

from __future__ import annotations

import re
from dataclasses import replace

from ckptdoctor.model.evidence import Place
from ckptdoctor.rules.common.case import Case
from ckptdoctor.rules.common.log import QUOTE, ErrorText, InLog, LogContext, LogError, LogVerdict, Message
from ckptdoctor.rules.common.measured import at_measured_line
from ckptdoctor.rules.common.rule import Rule, RuleHit
from ckptdoctor.rules.common.soundness import innermost_own
from ckptdoctor.words.wording import engines_in_words


def judge(case: Case) -> RuleHit | None:
    """Fires on an exception, a crash or a hang if the same step runs without checkpointing."""
    evidence = case.evidence
    if not case.is_checkpointed or evidence.ended not in ("raised", "crashed", "timeout"):
        return None
    if case.ended_before_checkpointing or (evidence.error and evidence.error.needs_cuda) or case.fails_to_import:
        return None
    control = case.control()
    if control is None or control.ended != "returned":
        return None
    if clash := case.clashes_with_engine():
        return _clash(case, clash)
    under = "" if case.spec.engine == "none" else f" under {engines_in_words([case.spec.engine])}"
    what = {"raised": "raises an error", "crashed": "kills the process", "timeout": "hangs"}[evidence.ended]
    return RuleHit(
        title=f"{case.spec.function} {what}; the same step runs without checkpointing",
        detail=f"In {evidence.during or 'the step'}{under}{case.step_text}: {case.happened}",
        culprit=_where(case),
        passed_by=case.passed_by,
    )


def _clash(case: Case, function: str) -> RuleHit:
    """The hit if torch's own function fails under the engine as well."""
    engine = engines_in_words([case.spec.engine])
    kind = "Reentrant" if function == "torch:reentrant" else "Non-reentrant"
    also = "" if case.spec.function == function else " The error is the same with torch's own checkpoint function."
    return RuleHit(
        title=f"{kind} checkpointing and {engine} do not work together here",
        detail=f"In {case.evidence.during or 'the step'} under {engine}: {case.happened}{also} "
        "The same step runs without checkpointing, and with checkpointing without an engine.",
        culprit=case.line_of_engine(),
    )


def _where(case: Case) -> Place | None:
    error, function = case.evidence.error, case.function
    if error is not None and function is not None and error.type == "RecursionError":
        # Which line of the circle meets Python's limit is chance; the circle goes through the function.
        in_it = [frame for frame in error.frames if frame.package == function.package]
        if in_it:
            return in_it[-1]
    return (innermost_own(error.frames) if error else None) or function


# In a log


_METHODS = r"_set_gradient_checkpointing|(?:gradient|activation)_checkpointing_enable|enable_gradient_checkpointing"
"""The methods of a model that switch checkpointing on."""

_NOT_SWITCHED = re.compile(
    rf"(?:{QUOTE}[A-Za-z_][\w.]{{0,80}}{QUOTE} )?object has no attribute {QUOTE}"
    rf"(?:_gradient_checkpointing_func|{_METHODS})\b"
)
"""A model that lacks such a method."""

_REENTRANT_KEYWORD = re.compile(
    r"(?<!__init__\(\) )got an unexpected keyword argument 'use_reentrant'"
    r"|missing \d{1,2} required [a-z -]{0,40}arguments?: [^\n]{0,200}'use_reentrant'"
)
"""A checkpoint function that does not take `use_reentrant`, or demands it."""

_REENTRANT_DEMANDED = re.compile(r"please pass in use_reentrant=|use_reentrant parameter should be passed explicitly")
"""torch demands the argument in these words, and also warns in them."""

_UNSUPPORTED = re.compile(r"\b[A-Z]\w{2,80} does not support gradient checkpointing")

_INCOMPATIBLE = re.compile(
    r"torch\.utils\.checkpoint is incompatible with \.grad\(\)"
    r"|Checkpointing is not compatible with \.grad\(\)"
    r"|none of output has requires_grad=True, this checkpoint\(\) is not necessary"
)
"""Errors that torch's checkpoint function raises about checkpointing itself."""

_READY_ONCE = re.compile(r"Expected to mark a variable ready only once|has been marked as ready twice")
_SECOND_BACKWARD = re.compile(r"backward through (?:the )?graph a second time")
_RECURSION = re.compile(r"maximum recursion depth exceeded")
_SWITCHES_ON = re.compile(rf"\b(?:{_METHODS}|_prepare_model_for_gradient_checkpointing)\(")

_NAMES_REENTRANT = "multiple reentrant backward passes"
"""DistributedDataParallel names reentrant checkpointing as a cause, since torch 1.9."""

_WHETHER = "The text does not say whether the step runs without checkpointing; `ckptdoctor check` tries it."


def judge_log(error: LogError, context: LogContext) -> LogVerdict | None:
    """Recognises errors of checkpointing by the message, by the line that raised them, or by what the writer says."""
    found = (
        at_measured_line(error, CODE, "with this error", lambda fault: fault.error.startswith(f"{error.type}:"))
        or (_by_the_text(error, context) if error.is_certain else None)
        or (_by_the_writer(error, context) if error.is_certain else None)
    )
    return replace(found, fixes=_fixes(error)) if found else None


def _by_the_text(error: LogError, context: LogContext) -> LogVerdict | None:
    frames = error.frames
    last = frames[error.innermost_own] if frames else None
    passed_at = error.passed_at(len(frames) - 1) if frames else None
    passed_by = frames[passed_at].place if passed_at is not None and frames[passed_at] != last else None
    raised_at = last.place if last else None
    if _is_of_checkpointing(error):
        summary = f"Only checkpointing raises this error: {error.text}"
        return LogVerdict("ours", summary, raised_at, passed_by, [_WHETHER])
    if _READY_ONCE.search(error.message) and _may_be_reentrant(error, context):
        return _suspected(
            "DistributedDataParallel names reentrant checkpointing as one of several causes of this error."
        )
    if _repeats(error, context):
        return _suspected(f"{error.text}, and the text says that checkpointing is used.", None, passed_by)
    if any(_SWITCHES_ON.search(f"{one.place.function}( {one.place.code}") for one in frames):
        return _suspected(f"{error.text} was raised while checkpointing was switched on.", raised_at)
    is_own = bool(frames) and frames[-1].is_checkpoint_file and not error.is_cut_before_error
    if last and is_own and error.name != "CheckpointError" and not error.is_mention:
        return _suspected(f"{error.text} was raised in the checkpoint function's own code.", raised_at, passed_by)
    return None


def _by_the_writer(error: LogError, context: LogContext) -> LogVerdict | None:
    """By what the writer says: an error raised in a layer does not show whether checkpointing is the cause."""
    if not context.runs_without:
        return None
    found = _suspected(f"the writer says that the step runs without checkpointing. {error.text}")
    return replace(
        found,
        doubts=["The text itself does not show that the step runs without checkpointing; `ckptdoctor check` tries it."],
    )


def _suspected(what: str, culprit: Place | None = None, passed_by: Place | None = None) -> LogVerdict:
    return LogVerdict("suspected", f"It looks like {CODE}: {what}", culprit, passed_by, [_WHETHER])


def _is_of_checkpointing(error: LogError) -> bool:
    """Whether the error is about checkpointing itself."""
    if error.name.endswith("Warning"):
        return False
    last = error.frames[error.innermost_own] if error.frames else None
    refused = last and "Unexpected keyword arguments" in error.words and last.path.endswith("/checkpoint.py")
    worded = (_INCOMPATIBLE, _NOT_SWITCHED, _REENTRANT_KEYWORD)
    typed = (_UNSUPPORTED, _REENTRANT_DEMANDED)  # said in docs and in warnings too
    return bool(
        refused
        or any(words.search(error.words) for words in worded)
        or (error.name == "ValueError" and any(words.search(error.words) for words in typed))
    )


def _may_be_reentrant(error: LogError, context: LogContext) -> bool:
    """Whether the text shows more than the error: parameters that are used twice raise the same error."""
    is_named = _NAMES_REENTRANT in context.signs
    return context.is_checkpointing or is_named or any(frame.is_checkpoint_file for frame in error.frames)


def _repeats(error: LogError, context: LogContext) -> bool:
    """Endless recursion, or a second backward pass, in a text that shows checkpointing."""
    if not (_RECURSION.search(error.message) or _SECOND_BACKWARD.search(error.message)):
        return False
    if error.frames:
        return any(frame.is_checkpoint_file for frame in error.frames)
    return context.is_checkpointing


def _fixes(error: LogError) -> list[str]:
    if not _READY_ONCE.search(error.message):
        return []
    return [
        "If checkpointing is reentrant: set `gradient_checkpointing_kwargs={'use_reentrant': False}`.",
        "If every parameter takes part in the loss: set `ddp_find_unused_parameters=False`.",
    ]


CODE = "CKPT010"

_READY_ONCE_TEXT = "RuntimeError: Expected to mark a variable ready only once."
_RECURSION_TEXT = "RecursionError: maximum recursion depth exceeded"
_SECOND_TEXT = "RuntimeError: Trying to backward through the graph a second time"

_TEXTS = (
    ErrorText(
        _READY_ONCE_TEXT,
        "DistributedDataParallel raises it if a parameter gets its gradient twice in a step. It names reentrant checkpointing "
        "as one of several causes; parameters that are used twice are another. The line alone does not show which it is.",
        shown=(
            f"{_READY_ONCE_TEXT} This error is caused by one of the following reasons: 1) Use of a module parameter outside "
            "the `forward` function. [...] 2) Reused parameters in multiple reentrant backward passes. [...]",
        ),
        reports=(
            "https://github.com/huggingface/accelerate/issues/389",
            "https://github.com/huggingface/peft/issues/313",
            "https://github.com/modelscope/ms-swift/issues/3171",
        ),
    ),
    ErrorText(
        _RECURSION_TEXT,
        "Any program may end in this line. It is a fault of checkpointing if lines of a checkpoint function repeat in the "
        "traceback: the function calls the layer, and the layer calls the function.",
        shown=(
            "Traceback (most recent call last):\n"
            '  File "/envs/train/lib/python3.11/site-packages/transformers/modeling_layers.py", line 47, in __call__\n'
            "    return self._gradient_checkpointing_func(partial(super().__call__, **kwargs), *args)\n"
            '  File "/envs/train/lib/python3.11/site-packages/axolotl/utils/gradient_checkpointing/unsloth.py", line 42, '
            "in forward\n"
            "    output = forward_function(hidden_states, *args)\n"
            "  [Previous line repeated 160 more times]\n"
            f"{_RECURSION_TEXT}",
        ),
    ),
    ErrorText(
        _SECOND_TEXT,
        "A training loop that calls backward twice ends in this line too, without any checkpointing. A frame of a checkpoint "
        "function in the traceback makes checkpointing a suspect.",
        shown=(
            "Traceback (most recent call last):\n"
            '  File "/envs/train/lib/python3.11/site-packages/torch/utils/checkpoint.py", line 320, in backward\n'
            "    torch.autograd.backward(outputs_with_grad, args_with_grad)\n"
            f"{_SECOND_TEXT} (or directly access saved tensors after they have already been freed).",
        ),
        reports=("https://github.com/zhanghang1989/PyTorch-Encoding/issues/76",),
    ),
    ErrorText(
        "ValueError: PhiForCausalLM does not support gradient checkpointing.",
        "The class in the message is the model's. transformers refuses to switch checkpointing on: the class does not declare "
        "that it supports it. `ckptdoctor known transformers==5.24.0 --model phi` says whether a release does.",
        reports=(
            "https://github.com/hiyouga/LlamaFactory/issues/1550",
            "https://github.com/huggingface/transformers/issues/17464",
        ),
    ),
    ErrorText(
        "AttributeError: 'LlamaModel' object has no attribute '_gradient_checkpointing_func'",
        "The class in the message is the model's, or a part of it. Its forward pass asks for the checkpoint function, and none "
        "was installed on it.",
        reports=(
            "https://github.com/huggingface/transformers/issues/30544",
            "https://github.com/huggingface/transformers/issues/30264",
        ),
    ),
    ErrorText(
        "RuntimeError: Checkpointing is not compatible with .grad() or when an `inputs` parameter is passed to .backward()",
        "Reentrant checkpointing supports `loss.backward()` and nothing else. Newer torch says: When use_reentrant=True, "
        "torch.utils.checkpoint is incompatible with .grad() or passing an `inputs` parameter to .backward().",
        reports=(
            "https://github.com/pytorch/pytorch/issues/51743",
            "https://github.com/kakaobrain/rq-vae-transformer/issues/26",
        ),
    ),
    ErrorText(
        "ValueError: torch.utils.checkpoint: please pass in use_reentrant=True or use_reentrant=False explicitly.",
        "Some releases of torch demand the argument. Others only warn in these words, and a warning is no error.",
        reports=("https://github.com/open-mmlab/mmengine/issues/1539",),
    ),
)

IN_LOG = InLog(
    judge_log,
    messages=(
        Message(_NOT_SWITCHED, "AttributeError", "attribute"),
        Message(_REENTRANT_KEYWORD, "TypeError", "require|reentrant"),
        Message(_INCOMPATIBLE, "RuntimeError", "checkpoint|require"),
        Message(_READY_ONCE, "RuntimeError", "mark(?:ed)? a[ s]"),
        Message(_SECOND_BACKWARD, "RuntimeError", "a second time"),
        Message(_RECURSION, "RecursionError", "recursion"),
    ),
    signs=(_NAMES_REENTRANT,),
    texts=_TEXTS,
)

RULE = Rule(
    code=CODE,
    name="does-not-run",
    meaning="With checkpointing, the step raises an error, crashes or hangs. Without it, the step runs.",
    explanation="""\
The same model trains with the same engine without checkpointing. With this checkpoint function, the step raises an error,
the process is killed, or the step does not finish in time. No other rule explains the failure.""",
    links=("https://github.com/NVIDIA-NeMo/Automodel/issues/1621",),
    judge=judge,
    in_log=IN_LOG,
)
