"""Which rule an error in a log belongs to: asks the rules and weighs their verdicts."""

from __future__ import annotations

from dataclasses import replace

from ckptdoctor.rules import in_log
from ckptdoctor.rules.common.log import LogContext, LogError, LogVerdict
from ckptdoctor.words.wording import first_line

_LAUNCHERS = ("ChildFailedError", "CalledProcessError", "ProcessRaisedException", "ProcessExitedException")
_MACHINE = (
    ("OutOfMemoryError", "the GPU ran out of memory"),
    ("CUDA out of memory", "the GPU ran out of memory"),
    ("collective operation timeout", "one rank waited for the others until it timed out"),
    ("NCCL", "communication between ranks failed"),
    ("DistBackendError", "communication between ranks failed"),
    ("CUDA error", "the GPU reported an error"),
    ("ModuleNotFoundError", "a package is missing"),
    ("ImportError", "an import failed"),
    ("KeyboardInterrupt", "the job was interrupted"),
    ("SignalException", "the job was stopped by a signal"),
    ("Torch not compiled with CUDA", "the job needs CUDA, and this torch is built without CUDA"),
)
"""Errors that are never a fault of checkpointing, by a word in their type or message, whatever frames they have."""


def judge(error: LogError, context: LogContext) -> LogVerdict:
    """The verdict on an error; its frames must have their roles."""
    if why := _of_the_machine(error):
        return LogVerdict("not ours", why)
    for rule, reader in in_log():
        found = reader.judge(error, context)
        if found is not None:
            return found if found.verdict == "not ours" else _weighed(error, replace(found, rule=rule.code))
    return LogVerdict("not ours", error.text, doubts=_inside(error))


def _of_the_machine(error: LogError) -> str:
    if is_launcher(error):
        return f"{error.name} only says that a worker died. The worker's own traceback shows the cause."
    text = f"{error.type}: {error.message[:300]}"
    return next((f"{why} ({error.text})." for word, why in _MACHINE if word in text), "")


def is_launcher(error: LogError) -> bool:
    """Whether a launcher raised the error because one of its workers died."""
    return error.name in _LAUNCHERS


def _weighed(error: LogError, found: LogVerdict) -> LogVerdict:
    """Lowers a verdict to suspected if processes are mixed in the traceback, or if the text only mentions the error."""
    if found.verdict != "ours":
        return found
    if error.is_mention and not error.frames and not found.is_unmistakable:
        reason = f"the text only mentions it: {first_line(error.message)[:200]}"
        doubt = "The text has no traceback, and no error line with a type and a message."
    elif error.is_tangled and found.rests_on_frames:
        reason = "lines of several processes are mixed in the traceback"
        doubt = "Lines of several processes are mixed in this traceback, so its frames may belong to different errors."
    else:
        return found
    summary = f"It looks like {found.rule}, but {reason}{'' if reason.endswith('.') else '.'}"
    return replace(found, verdict="suspected", summary=summary, doubts=[*found.doubts, doubt])


def _inside(error: LogError) -> list[str]:
    """A doubt on an error that no rule matches, if it was raised while a layer ran under checkpointing."""
    if not any(frame.passes_layer or frame.is_checkpoint_file for frame in error.frames):
        return []
    return [
        "The error was raised while a layer ran under checkpointing. The text does not say whether it appears without. "
        "`ckptdoctor check` tries both."
    ]
