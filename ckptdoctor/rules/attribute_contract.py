"""CKPT001: a checkpoint function reads an attribute that the callable does not have."""

from __future__ import annotations

import re

from ckptdoctor import catalog
from ckptdoctor.model.evidence import Error, Place, Setup
from ckptdoctor.planning.options import OWN_MODEL
from ckptdoctor.rules.common.case import Case
from ckptdoctor.rules.common.log import QUOTE, ErrorText, Frame, InLog, LogContext, LogError, LogVerdict, Message
from ckptdoctor.rules.common.rule import Rule, RuleHit
from ckptdoctor.rules.common.soundness import works
from ckptdoctor.words.wording import briefly, owner


def judge(case: Case) -> RuleHit | None:
    """Fires if the callable lacks an attribute, or if experiments show that the function cannot work with the callable."""
    error, handover = case.evidence.error, case.handover
    if not case.is_checkpointed or case.evidence.ended != "raised" or error is None or handover is None:
        return None
    if case.evidence.during != "forward" or error.needs_cuda or not error.frames:
        return None
    # An error of the layer's own code also appears without checkpointing, or with torch's function.
    if not case.is_sound_without_checkpointing() and not case.passes_with_torch():
        return None
    is_read = error.attribute is not None and bool(error.attribute.in_callable)
    if not is_read and not _shown_by_experiment(case):
        return None
    reader = _reader(error, handover.by)
    what = f"reads `{error.attribute.name}` from" if is_read and error.attribute else "cannot work with"
    return RuleHit(
        title=f"{owner(reader, case.spec.function)} {what} a callable that {_has_none(case, error)}",
        detail=f"{owner(handover.by, case.model_text)} passes each layer as {briefly(handover.callable.text)}.",
        culprit=reader,
        passed_by=handover.by,
    )


def _has_none(case: Case, error: Error) -> str:
    if error.attribute is not None and error.attribute.in_callable:
        return "does not have it"
    return f"{owner(case.handover.by, case.model_text)} passes" if case.handover else "was passed to it"


def _reader(error: Error, handed_by: Place) -> Place:
    """The innermost frame below the line that passes the layer, without helpers of libraries."""
    below = error.frames
    for index, frame in enumerate(error.frames):
        if frame.is_at(handed_by):
            below = error.frames[index + 1 :]
    own = [frame for frame in below if frame.package not in ("python", "torch")]
    return (own or below or error.frames)[-1]


def _shown_by_experiment(case: Case) -> bool:
    """Whether the function fails on this callable before the layer runs, and works with another calling convention."""
    if case.evidence.error is not None and case.evidence.error.type == "RecursionError":
        return False  # the function found the layer, and calls it again and again
    ran = any(layer.forwards for layer in case.evidence.layers)
    # The other conventions are tried without an engine. A failure under an engine only has another cause.
    return not ran and bool(case.passes_with_torch()) and case.shows_in_the_usual_step() and bool(works_with(case))


def works_with(case: Case) -> list[str]:
    """Calling conventions of our own model with which the same function trains."""
    return [
        planned.spec.convention
        for planned, evidence in case.others.values()
        if planned.spec.model == OWN_MODEL
        and _package(planned.spec.function) == _package(case.spec.function)
        and planned.spec.convention != case.spec.convention
        and _is_alike(planned.spec.setup, case.spec.setup)
        and works(evidence)
    ]


def _is_alike(one: Setup, other: Setup) -> bool:
    """Whether two steps have the same tuning and precision: a failure with bf16 or LoRA only has another cause."""
    return (one.tuning, one.precision) == (other.tuning, other.precision)


def _package(function: str) -> str:
    """The package of a trainer's function; for a function of the user's own, its name."""
    return catalog.package_of(function) if function in catalog.functions() else function


# In a log


_OBJECT = rf"(?<![\w.]){QUOTE}(?P<object>[A-Za-z_][\w.]{{0,80}}){QUOTE}\s{{1,3}}object\s{{1,3}}has\s{{1,3}}no\s{{1,3}}attribute"
_READS = re.compile(rf"{_OBJECT}\s{{1,3}}{QUOTE}(?P<name>__self__|__func__|func)\b{QUOTE}")
_READS_OWNER = re.compile(rf"{_OBJECT}\s{{1,3}}{QUOTE}(?P<name>__self__)\b{QUOTE}")
"""The message alone. With another attribute, the message may be about anything."""

_CALLABLES = ("functools.partial", "function", "method", "builtin_function_or_method", "method-wrapper")


def judge_log(error: LogError, context: LogContext) -> LogVerdict | None:
    """Recognises a checkpoint function that reads an attribute that the callable does not have."""
    found = _READS.search(error.message)
    if error.name != "AttributeError" or not found:
        return None
    name, kind = found["name"], found["object"]
    if not error.frames:
        if kind not in _CALLABLES or name != "__self__":
            return None
        return _suspected(error, name, "the text has no traceback")
    reader_at = error.innermost_own
    passed_at = error.passed_at(reader_at)
    reader = error.frames[reader_at]
    passed_by = error.frames[passed_at] if passed_at is not None else None
    # If frames are left out in between, they may be the layer's own code.
    is_cut = passed_at is not None and passed_at < error.cut_at and not reader.is_checkpoint_function
    if error.is_cut_before_error or passed_at == reader_at or is_cut:
        return _cut_short(error, name, kind)
    if passed_at is not None and _is_in_layer(error.frames[passed_at + 1 : reader_at], reader):
        return None
    return _read(reader, passed_by, name, kind, error)


def _is_in_layer(between: list[Frame], reader: Frame) -> bool:
    """Whether the layer's own code was reached: a frame in between is in a checkpoint file, or enters a module."""
    passed = not reader.is_checkpoint_function and any(frame.is_checkpoint_file for frame in between)
    return passed or any(frame.enters_layer for frame in between)


def _read(reader: Frame, passed_by: Frame | None, name: str, kind: str, error: LogError) -> LogVerdict | None:
    """The verdict if the line that reads the attribute is in the traceback."""
    reads = f".{name}" in reader.place.code
    if not reader.is_checkpoint_file and not (reads and (passed_by or reader.is_checkpoint_function)):
        return None
    summary = f"{owner(reader.place, 'the checkpoint function')} reads `{name}` from a {kind} that does not have it"
    summary += f"; {owner(passed_by.place, 'the caller')} passed it." if passed_by else "."
    doubts = [] if passed_by else ["The line that passes the callable is not in the text."]
    places = (reader.place, passed_by.place if passed_by else None)
    if reader.is_checkpoint_file or (passed_by is not None and passed_by.passes_layer):
        return LogVerdict("ours", summary, *places, doubts, _fixes(error))
    if reader.is_checkpoint_function:
        why = "whether its function is used for gradient checkpointing is not in the text"
    else:
        why = "whether `checkpoint` is torch's function there is not in the text"
    return LogVerdict("suspected", f"It looks like {CODE}: {summary[:-1]}; but {why}.", *places, doubts, _fixes(error))


def _cut_short(error: LogError, name: str, kind: str) -> LogVerdict | None:
    """The verdict if the frame that reads the attribute is missing: other frames may show a checkpoint function."""
    passed_at = error.passed_at(len(error.frames) - 1)
    touches = passed_at is not None or any(frame.is_checkpoint_function for frame in error.frames)
    if not touches and kind not in _CALLABLES:
        return None
    passed_by = error.frames[passed_at].place if passed_at is not None else None
    return _suspected(error, name, "the frame that reads it is missing", passed_by)


def _suspected(error: LogError, name: str, why: str, passed_by: Place | None = None) -> LogVerdict:
    summary = (
        f"It looks like {CODE}, a checkpoint function that reads `{name}` from the callable passed to it, but {why}. "
        "Other code can fail with the same message."
    )
    doubts = ["The frame that reads the attribute is not in the text."]
    return LogVerdict("suspected", summary, None, passed_by, doubts, _fixes(error))


def _fixes(error: LogError) -> list[str]:
    name = next((frame.place.package for frame in error.frames if catalog.is_trainer(frame.place.package)), "")
    return [
        f"If you can install other releases: `ckptdoctor known{f' {name}' if name else ''}` lists which releases of "
        f"{name or 'the trainers'} and of transformers work together.",
        "If the packages must not change: `ckptdoctor run -- <command>` adapts the callable in the running job.",
        "If you have the environment: `ckptdoctor fix` tries other releases, a patch and settings, and offers what works.",
    ]


CODE = "CKPT001"

_TEXTS = (
    ErrorText(
        "AttributeError: 'functools.partial' object has no attribute '__self__'",
        "A checkpoint function reads `__self__`, which a bound method has. It was passed a `functools.partial`, which has "
        "none.",
        reports=(
            "https://github.com/hiyouga/LLaMA-Factory/issues/7779",
            "https://github.com/hiyouga/LLaMA-Factory/issues/7699",
            "https://github.com/axolotl-ai-cloud/axolotl/issues/2561",
        ),
    ),
    ErrorText(
        "AttributeError: 'function' object has no attribute '__self__'",
        "A checkpoint function reads `__self__`, which a bound method has. It was passed a plain function, or a "
        "`functools.partial` of one, which has none.",
    ),
)

RULE = Rule(
    code=CODE,
    name="attribute-contract",
    meaning="The checkpoint function reads an attribute that the callable passed to it does not have.",
    explanation="""\
A model does not call torch's `checkpoint` itself. The model passes each decoder layer to a *checkpoint function* that the
trainer installed. The layer is passed as a callable, and no interface says which kind of callable. The trainer's function
looks for the layer in the callable, for example with `func.__self__`. This works for a bound method and for nothing else.
When transformers changes the kind of callable, training fails in its first forward pass:

    AttributeError: 'functools.partial' object has no attribute '__self__'
    AttributeError: 'function' object has no attribute '__self__'

The message alone does not decide. The rule fires in two cases:

- The attribute is missing from the callable that was passed, or from an object inside this callable.
- The function fails before the layer runs, and works with another calling convention. torch's own function trains the same
  model with the same callable.

DeepSpeed is often blamed. ckptdoctor runs the same step in a process without DeepSpeed and compares the result.

Fixes: releases of the trainer and of transformers that work together, or a checkpoint function that finds the layer in any
callable.""",
    links=(
        "https://github.com/hiyouga/LLaMA-Factory/issues/7779",
        "https://github.com/hiyouga/LLaMA-Factory/issues/7699",
        "https://github.com/axolotl-ai-cloud/axolotl/issues/2561",
    ),
    judge=judge,
    implies=("CKPT010",),
    label="read by",
    reads_callable=True,
    seen_anyway=True,
    in_log=InLog(judge_log, messages=(Message(_READS_OWNER, "AttributeError", "attribute"),), texts=_TEXTS),
)
