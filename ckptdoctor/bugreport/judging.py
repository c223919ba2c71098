"""Which rule an error in a log is, as far as its text bears it out, and whose code had which part in it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from ckptdoctor.bugreport import known, places
from ckptdoctor.bugreport.tracebacks import Raised
from ckptdoctor.evidence import Place
from ckptdoctor.wording import first_line, owner

Verdict = Literal["ours", "suspected", "not ours"]

LOST_GRADIENTS = "None of the inputs have requires_grad=True"
"""What torch warns of when nothing that enters a reentrant checkpoint requires grad."""

_ATTRIBUTE = re.compile(r"'(?P<object>[\w.]{1,80})' object has no attribute '(?P<name>__self__|__func__|func)'")
_CALLABLES = ("functools.partial", "function", "method", "builtin_function_or_method", "method-wrapper")

_MISMATCH = (
    "A different number of tensors was saved during the original forward and recomputation",
    "Recomputed values for the following tensors have different metadata than during the forward pass",
    "trying to save more tensors during recomputation than during the original forward pass",
    "Unpack is being triggered for a tensor that was already unpacked once",
    "An error happened while unpacking tensors; dumping logs of latest computation",
)
"""CheckpointError as torch 2.1 and later word it."""

_ONLY_UNDER_CHECKPOINTING = (
    "torch.utils.checkpoint is incompatible with .grad()",
    "Checkpointing is not compatible with .grad()",
    "none of output has requires_grad=True, this checkpoint() is not necessary",
    "object has no attribute '_gradient_checkpointing_func'",
)
"""What is raised for checkpointing's own sake."""

_READY_ONCE = "Expected to mark a variable ready only once"
_NO_GRAPH = "element 0 of tensors does not require grad"

_LAUNCHERS = ("ChildFailedError", "CalledProcessError", "ProcessRaisedException", "ProcessExitedException")
_MACHINE = (
    ("OutOfMemoryError", "the GPU ran out of memory"),
    ("CUDA out of memory", "the GPU ran out of memory"),
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


@dataclass(frozen=True)
class Judged:
    """What an error amounts to.

    Attributes:
        verdict: Ours only where the text itself shows it.
        rule: A rule's code, empty when it is not ours.
        summary: One sentence.
        culprit: Whose code reads, or raised.
        handed_over_by: The line that called the checkpoint function.
        doubts: What the text does not tell.
    """

    verdict: Verdict
    summary: str
    rule: str = ""
    culprit: Place | None = None
    handed_over_by: Place | None = None
    doubts: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Context:
    """What the rest of the log says."""

    warns_of_lost_gradients: bool


def judge(error: Raised, context: Context) -> Judged:
    """Say which rule an error is, the frames of which know their packages."""
    why = _of_the_machine(error)
    if why:
        return Judged("not ours", why)
    for rule in _RULES:
        found = rule(error, context)
        if found:
            return _tempered(error, found)
    return Judged("not ours", _short(error), doubts=_inside(error))


def _short(error: Raised) -> str:
    return f"{error.name}: {first_line(error.message)}" if error.message.strip() else error.name


def _of_the_machine(error: Raised) -> str:
    if is_launcher(error):
        return f"{error.name} only says that a worker died; the worker's own traceback tells why."
    text = f"{error.type}: {error.message[:300]}"
    return next((f"{why} ({_short(error)})." for word, why in _MACHINE if word in text), "")


def is_launcher(error: Raised) -> bool:
    """Whether it is what a launcher says when one of its workers has died."""
    return error.name in _LAUNCHERS


def _tempered(error: Raised, judged: Judged) -> Judged:
    """Tracebacks of several processes mixed in one prove nothing."""
    if not error.is_tangled or judged.verdict != "ours" or judged.rule == "CKPT007":
        return judged
    doubt = "Lines of several processes are mixed in this traceback, so its frames may belong to different errors."
    return Judged(
        "suspected",
        f"It looks like {judged.rule}, but lines of several processes are mixed in the traceback.",
        judged.rule,
        judged.culprit,
        judged.handed_over_by,
        [*judged.doubts, doubt],
    )


def _attribute_contract(error: Raised, context: Context) -> Judged | None:
    """CKPT001: a checkpoint function reads what the callable does not have."""
    found = _ATTRIBUTE.search(error.message) or _ATTRIBUTE.search(" ".join(error.message.split()))
    if error.name != "AttributeError" or not found:
        return None
    missing = f"`{found['name']}`"
    if not error.frames:
        if found["object"] not in _CALLABLES or found["name"] != "__self__":
            return None
        return _suspected_read(missing, "the text has no traceback")
    reader_at = _reader(error.frames)
    handed_at = _handed_over(error.frames, reader_at)
    reader = error.frames[reader_at]
    handed = error.frames[handed_at] if handed_at is not None else None
    # Where something was left out on the way, the layer's own code may have stood there.
    is_cut = handed_at is not None and handed_at < error.cut_at and not places.is_checkpoint_function(reader)
    if error.is_cut_before_error or handed_at == reader_at or is_cut:
        return _cut_short(error, missing, found["object"])
    if handed_at is not None and _is_in_layer(error.frames[handed_at + 1 : reader_at], reader):
        return None
    return _read(reader, handed, found["name"], found["object"], error)


def _is_in_layer(between: list[Place], reader: Place) -> bool:
    """Whether the layer's own code had been reached: a checkpoint function was passed, or a module entered."""
    passed = not places.is_checkpoint_function(reader) and any(places.is_checkpoint_file(one) for one in between)
    return passed or any(places.enters_layer(one) for one in between)


def _read(reader: Place, handed: Place | None, name: str, kind: str, error: Raised) -> Judged | None:
    """The reading line is there: is it a checkpoint function's?"""
    reads = f".{name}" in reader.code
    known_function = places.is_checkpoint_file(reader)
    if not known_function and not (handed and reads) and not (places.is_checkpoint_function(reader) and reads):
        return None
    certain = known_function or (handed is not None and places.hands_over(handed))
    summary = f"{owner(reader, 'the checkpoint function')} reads `{name}` from a {kind} that does not have it"
    summary += f"; {owner(handed, 'the caller')} handed it over." if handed else "."
    doubts = [] if handed else ["The line that hands the callable over is not in the text."]
    if certain:
        return Judged("ours", summary, "CKPT001", reader, handed, doubts)
    if places.is_checkpoint_function(reader):
        why = "whether its function is used for gradient checkpointing is not in the text"
    else:
        why = "whether `checkpoint` is torch's function there is not in the text"
    return Judged("suspected", f"It looks like CKPT001: {summary[:-1]}; but {why}.", "CKPT001", reader, handed, doubts)


def _suspected_read(missing: str, why: str, handed: Place | None = None) -> Judged:
    summary = (
        f"It looks like CKPT001, a checkpoint function that reads {missing} from what it is handed, but {why}, and "
        "other code may fail with the same message."
    )
    return Judged(
        "suspected", summary, "CKPT001", None, handed, ["The frame that reads the attribute is not in the text."]
    )


def _cut_short(error: Raised, missing: str, kind: str) -> Judged | None:
    """The frame that reads is missing: only a hand-over, or a function on the way, allows a suspicion."""
    handed_at = _handed_over(error.frames, len(error.frames) - 1)
    touches = handed_at is not None or any(places.is_checkpoint_function(frame) for frame in error.frames)
    if not touches and kind not in _CALLABLES:
        return None
    handed = error.frames[handed_at] if handed_at is not None else None
    return _suspected_read(missing, "the frame that reads it is missing", handed)


def _reader(frames: list[Place]) -> int:
    """The innermost frame that is not a library's helper."""
    own = [at for at, frame in enumerate(frames) if not places.is_helper(frame)]
    return own[-1] if own else len(frames) - 1


def _handed_over(frames: list[Place], until: int) -> int | None:
    """The innermost line up to there that calls a checkpoint function, or from which one was called."""
    for at in range(until, -1, -1):
        if places.path(frames[at]).endswith("torch/autograd/__init__.py"):
            return None  # in backward, whoever handed the layer over has long returned
        if places.may_hand_over(frames[at]) and not places.is_checkpoint_file(frames[at]):
            return at
    return _caller(frames, until)


def _caller(frames: list[Place], until: int) -> int | None:
    """Without the source line: the frame of a model right above the checkpoint function."""
    first = next((at for at in range(until + 1) if places.is_checkpoint_file(frames[at])), None)
    if first is None:
        return None
    above = [at for at in range(first) if not places.is_helper(frames[at])]
    is_model = bool(above) and frames[above[-1]].package == "transformers" and not frames[above[-1]].code
    return above[-1] if is_model else None


def _recomputation_mismatch(error: Raised, context: Context) -> Judged | None:
    """CKPT007: torch's CheckpointError."""
    message = " ".join(error.message.split())
    worded = any(words.replace(" ", "") in message.replace(" ", "") for words in _MISMATCH)  # wrapped within a word
    from_torch = error.type.startswith("torch.utils.checkpoint.") or message.startswith("torch.utils.checkpoint:")
    seen = any(places.path(frame).endswith("torch/utils/checkpoint.py") for frame in error.frames)
    if error.name != "CheckpointError" or not (worded or from_torch or seen):
        return None
    doubts = ["What differs between the two runs of the layer is not in the text."]
    if not error.frames:
        doubts.append("There is no traceback with it.")
    if "torch.Size([0])" in error.message:
        doubts.append(
            "One side has the shape [0], as a parameter has that ZeRO 3 has partitioned; that is a hint, no proof."
        )
    wrappers = sorted({one.package for one in error.frames if places.hands_over(one)})
    wrapped_twice = any("checkpoint_wrapper.py" in places.path(one) for one in error.frames) and bool(wrappers)
    if wrapped_twice:
        doubts.append(
            "Two mechanisms checkpoint at once in this traceback: torch's checkpoint_wrapper and the model's own."
        )
    return Judged(
        "ours",
        "torch finds in backward that the recomputed layer saved other tensors than its forward pass did: "
        f"{first_line(error.message).removeprefix('torch.utils.checkpoint: ')}",
        "CKPT007",
        doubts=doubts,
    )


def _gradients_missing(error: Raised, context: Context) -> Judged | None:
    """CKPT004: nothing that enters the checkpoint requires grad."""
    if _NO_GRAPH not in error.message:
        return None
    frames = [one for one in error.frames if places.is_checkpoint_function(one) or places.hands_over(one)]
    if not frames and not context.warns_of_lost_gradients:
        return Judged(
            "not ours",
            f"{_short(error)}. Neither torch's warning about checkpoint inputs nor a checkpoint function is in the text.",
            doubts=[
                "Gradients lost under reentrant checkpointing (CKPT004) end like this as well, after that warning."
            ],
        )
    shown = "torch's warning about the inputs" if context.warns_of_lost_gradients else "the traceback"
    return Judged(
        "ours",
        "Gradients are lost: nothing that enters the reentrant checkpoint requires grad, so the loss has no graph "
        f"({shown} shows it). `model.enable_input_require_grads()` or `use_reentrant=False` helps.",
        "CKPT004",
        frames[-1] if frames else None,
    )


def _measured_fault(error: Raised, context: Context) -> Judged | None:
    """CKPT010 and CKPT011: the very line at which the shipped knowledge saw the function fail."""
    for frame in reversed(error.frames):
        fault = known.fault_at(frame, error.type) if not places.is_helper(frame) else None
        if fault and fault.rule in ("CKPT010", "CKPT011") and _fits(error, fault.rule):
            handed_at = _handed_over(error.frames, error.frames.index(frame))
            handed = error.frames[handed_at] if handed_at is not None else None
            seen = "with the CPU in the place of a GPU" if fault.rule == "CKPT011" else "with this error"
            return Judged(
                "ours",
                f"{owner(frame, 'The checkpoint function')} fails at a line at which it was measured to fail {seen}: "
                f"{_short(error)}",
                fault.rule,
                frame,
                handed,
            )
    return None


def _fits(error: Raised, rule: str) -> bool:
    return rule == "CKPT010" or (error.name in ("ValueError", "TypeError") and "unpack" in error.message)


def _does_not_run(error: Raised, context: Context) -> Judged | None:
    """CKPT010: raised by what runs under checkpointing only."""
    whether = "Whether the step runs without checkpointing is not in the text; `ckptdoctor check` tries it."
    last = error.frames[_reader(error.frames)] if error.frames else None
    handed_at = _handed_over(error.frames, len(error.frames) - 1) if error.frames else None
    handed = error.frames[handed_at] if handed_at is not None and error.frames[handed_at] != last else None
    refused = last and "Unexpected keyword arguments" in error.message and places.path(last).endswith("/checkpoint.py")
    if refused or any(words in error.message for words in _ONLY_UNDER_CHECKPOINTING):
        summary = f"The step raises what only checkpointing raises: {_short(error)}"
        return Judged("ours", summary, "CKPT010", last, handed, [whether])
    if _READY_ONCE in error.message:
        summary = (
            "It looks like CKPT010: DistributedDataParallel names reentrant checkpointing as one of the causes of this "
            "error, among others."
        )
        return Judged("suspected", summary, "CKPT010", doubts=[whether])
    if last and error.name != "CheckpointError" and places.is_checkpoint_file(last) and not error.is_cut_before_error:
        summary = f"It looks like CKPT010: {_short(error)} was raised in the checkpoint function's own code."
        return Judged("suspected", summary, "CKPT010", last, handed, [whether])
    return None


def _inside(error: Raised) -> list[str]:
    """For an error of none of the rules that came while a layer was run under checkpointing."""
    if not any(places.hands_over(one) or places.is_checkpoint_file(one) for one in error.frames):
        return []
    return [
        "It was raised while a layer ran under checkpointing; whether it is without as well is not in the text. "
        "`ckptdoctor check` tries both."
    ]


_RULES: tuple[Callable[[Raised, Context], Judged | None], ...] = (
    _attribute_contract,
    _recomputation_mismatch,
    _gradients_missing,
    _measured_fault,
    _does_not_run,
)
