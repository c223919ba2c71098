"""Which rule an error in a log is, as far as its text shows it: asks the rules, and weighs what they say."""

from __future__ import annotations

from dataclasses import replace

from ckptdoctor.rules import in_log
from ckptdoctor.rules.common.log import LogContext, LogError, LogVerdict
from ckptdoctor.words.wording import first_line

_LAUNCHERS = ("ChildFailedError", "CalledProcessError", "ProcessRaisedException", "ProcessExitedException")
_MACHINE = (
    ("OutOfMemoryError", "the GPU ran out of memory"),
    ("CUDA out of memory", "the GPU ran out of memory"),
    ("collective operation timeout", "one rank waited for the others in vain until the time was up"),
    ("NCCL", "communication between ranks failed"),
    ("DistBackendError", "communication between ranks failed"),
    ("CUDA error", "the GPU reported an error"),
    ("ModuleNotFoundError", "a package is missing"),
    ("ImportError", "something could not be imported"),
    ("KeyboardInterrupt", "it was interrupted"),
    ("SignalException", "it was stopped by a signal"),
    ("Torch not compiled with CUDA", "it needs a GPU, and this torch has none"),
)
"""Errors that are never a fault of checkpointing, by a word in their type or message, whatever frames they have."""


def judge(error: LogError, context: LogContext) -> LogVerdict:
    """Say which rule an error is; its frames must know their part."""
    if why := _of_the_machine(error):
        return LogVerdict("not ours", why)
    for rule, reader in in_log():
        found = reader.judge(error, context)
        if found is not None:
            return found if found.verdict == "not ours" else _weighed(error, replace(found, rule=rule.code))
    return LogVerdict("not ours", error.text, doubts=_inside(error))


def _of_the_machine(error: LogError) -> str:
    if is_launcher(error):
        return f"{error.name} only says that a worker died; the worker's own traceback tells why."
    text = f"{error.type}: {error.message[:300]}"
    return next((f"{why} ({error.text})." for word, why in _MACHINE if word in text), "")


def is_launcher(error: LogError) -> bool:
    """Whether it is what a launcher says when one of its workers has died."""
    return error.name in _LAUNCHERS


def _weighed(error: LogError, found: LogVerdict) -> LogVerdict:
    """Tracebacks of several processes mixed in one prove nothing; neither does a message that anybody may quote."""
    if found.verdict != "ours":
        return found
    if error.is_mention and not error.frames and not found.is_unmistakable:
        reason = f"the text only mentions it: {first_line(error.message)[:200]}"
        doubt = "The text has no error line of Python's, with a type and a message, and no traceback."
    elif error.is_tangled and found.rests_on_frames:
        reason = "lines of several processes are mixed in the traceback"
        doubt = "Lines of several processes are mixed in this traceback, so its frames may belong to different errors."
    else:
        return found
    summary = f"It looks like {found.rule}, but {reason}{'' if reason.endswith('.') else '.'}"
    return replace(found, verdict="suspected", summary=summary, doubts=[*found.doubts, doubt])


def _inside(error: LogError) -> list[str]:
    """For an error of none of the rules that came while a layer was run under checkpointing."""
    if not any(frame.passes_layer or frame.is_checkpoint_file for frame in error.frames):
        return []
    return [
        "It was raised while a layer ran under checkpointing; whether it is without as well is not in the text. "
        "`ckptdoctor check` tries both."
    ]
