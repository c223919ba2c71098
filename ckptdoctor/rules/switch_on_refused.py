"""CKPT013: a method of the model refuses the call that switches checkpointing on."""

from __future__ import annotations

import re

from ckptdoctor.model.evidence import Place
from ckptdoctor.rules.common.case import Case
from ckptdoctor.rules.common.log import ErrorText, InLog, LogContext, LogError, LogVerdict, Message
from ckptdoctor.rules.common.rule import Rule, RuleHit
from ckptdoctor.words.wording import located, owner


def judge(case: Case) -> RuleHit | None:
    """Fires if a method of the model was called with arguments that it does not take, when checkpointing was switched on."""
    error = case.evidence.error
    if not case.is_checkpointed or case.evidence.during != "enable" or error is None or error.refused_by is None:
        return None
    caller = error.frames[0] if error.frames else None
    who = owner(error.refused_by, case.spec.function)
    by = [one.by for one in case.evidence.replaced if one.with_ and one.by and one.with_.is_at(error.refused_by)]
    where = f" The line that replaced it: {located(by[0])}." if by else ""
    return RuleHit(
        title=f"{who} has a method that refuses the call with which {_by(caller)} switches checkpointing on",
        detail=(
            f"The model's own method was replaced by `{error.refused_by.function}`, which does not take all arguments that "
            f"{owner(caller, 'the caller')} passes.{where} Training stops before its first step."
        ),
        culprit=error.refused_by,
        passed_by=caller,
    )


def _by(caller: Place | None) -> str:
    return "transformers' Trainer" if caller is not None and caller.package == "transformers" else "the job"


# In a log


_METHODS = (
    r"_?(?:set_gradient_checkpointing|(?:gradient|activation)_checkpointing_enable|enable_gradient_checkpointing)"
)
"""The methods of a model that switch checkpointing on, and what replaces them, which often has their name."""

_REFUSES = re.compile(
    rf"(?<![\w]){_METHODS}\(\) (?:got an unexpected keyword argument|got multiple values|takes (?:from )?\d|missing \d)"
)
"""Such a method, called with arguments of another release."""


def judge_log(error: LogError, context: LogContext) -> LogVerdict | None:
    """Recognises the call that a method refuses by the message of the error."""
    if error.name.endswith("Warning") or not _REFUSES.search(error.words):
        return None
    caller = error.frames[error.innermost_own].place if error.frames else None
    by = owner(caller, "the job")
    summary = f"A method of the model refuses the call with which {by} switches checkpointing on: {error.text}"
    doubts = ["A traceback does not show who replaced the method; `ckptdoctor check` with the job's file finds out."]
    return LogVerdict("ours", summary, None, caller, doubts, list(_FIXES))


_FIXES = (
    "If the trainer switches checkpointing on itself, as LLaMA-Factory does: remove `gradient_checkpointing: true`.",
    "If you can install other releases: install a release of transformers that the trainer declares.",
    "If the method is your own: let it take `**kwargs`.",
)

CODE = "CKPT013"

_TEXTS = (
    ErrorText(
        "TypeError: _set_gradient_checkpointing() got an unexpected keyword argument 'enable'",
        "The method belongs to the model's own code, often from the hub, and was written for an older transformers.",
        reports=(
            "https://github.com/axolotl-ai-cloud/axolotl/issues/895",
            "https://github.com/datawhalechina/self-llm/issues/34",
        ),
    ),
    ErrorText(
        "TypeError: BiEncoderModel.gradient_checkpointing_enable() got an unexpected keyword argument "
        "'gradient_checkpointing_kwargs'",
        "The class in the message has a method of its own that does not take what Trainer passes.",
        reports=("https://github.com/FlagOpen/FlagEmbedding/issues/236",),
    ),
    ErrorText(
        "TypeError: _gradient_checkpointing_enable() got an unexpected keyword argument 'every_n_layers'",
        "A method that a trainer put in the place of the model's own takes fewer arguments than this transformers passes.",
    ),
)

RULE = Rule(
    code=CODE,
    name="switch-on-refused",
    meaning="A method of the model refuses the call that switches checkpointing on.",
    explanation="""\
transformers' Trainer switches checkpointing on with a method of the model, and passes keyword arguments. Their number grows:
`every_n_layers` came in transformers 5.16, `offload` in 5.17, and 5.23 renamed the method and its argument. Some trainers and
models replace this method with one of their own that has fixed parameters. When Trainer passes one more, the job stops before
its first step:

    TypeError: _gradient_checkpointing_enable() got an unexpected keyword argument 'every_n_layers'

The traceback ends at Trainer's line and does not show who replaced the method. ckptdoctor takes Trainer's own call out of the
installed transformers, runs it on a tiny model after the trainer's preparation, and names the line at which the method that
refuses it is defined.

Fixes: leave the switch to one of the two, or let the method take `**kwargs`.""",
    links=(),
    judge=judge,
    implies=("CKPT010",),
    label="refused by",
    passed="called here",
    in_log=InLog(judge_log, messages=(Message(_REFUSES, "TypeError", "checkpoint"),), texts=_TEXTS),
)
