"""Which rule an error in a log is, as far as its text bears it out, and whose code had which part in it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from ckptdoctor.explain import known, places, wordings
from ckptdoctor.explain.tracebacks import Raised
from ckptdoctor.model.evidence import Place
from ckptdoctor.model.explanation import ErrorVerdict
from ckptdoctor.words.wording import first_line, owner

_CALLABLES = ("functools.partial", "function", "method", "builtin_function_or_method", "method-wrapper")

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


@dataclass(frozen=True)
class Judged:
    """What an error amounts to.

    Attributes:
        verdict: Ours only where the text itself shows it.
        rule: A rule's code, empty when it is not ours.
        summary: One sentence.
        culprit: Whose code reads, or raised.
        passed_by: The line that called the checkpoint function.
        doubts: What the text does not tell.
    """

    verdict: ErrorVerdict
    summary: str
    rule: str = ""
    culprit: Place | None = None
    passed_by: Place | None = None
    doubts: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Context:
    """What the rest of the log says.

    Attributes:
        warns_of_lost_gradients: torch warns that nothing that enters a checkpoint requires grad.
        is_checkpointing: By a setting, by what libraries print, or in the writer's words.
        names_reentrant: DistributedDataParallel's message names reentrant checkpointing as a cause, as it does since torch 1.9.
        runs_without: The writer says that it runs without checkpointing.
    """

    warns_of_lost_gradients: bool
    is_checkpointing: bool = False
    names_reentrant: bool = False
    runs_without: bool = False


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
    """Tracebacks of several processes mixed in one prove nothing; neither does a message that anybody may quote."""
    if judged.verdict != "ours":
        return judged
    if error.is_mention and not error.frames and not _lists_metadata(error.message):
        reason = f"the text only mentions it: {first_line(error.message)[:200]}"
        doubts = [
            *judged.doubts,
            "The text has no error line of Python's, with a type and a message, and no traceback.",
        ]
    elif error.is_tangled and judged.rule != "CKPT007":
        reason = "lines of several processes are mixed in the traceback"
        doubts = [
            *judged.doubts,
            "Lines of several processes are mixed in this traceback, so its frames may belong to different errors.",
        ]
    else:
        return judged
    summary = f"It looks like {judged.rule}, but {reason}{'' if reason.endswith('.') else '.'}"
    return replace(judged, verdict="suspected", summary=summary, doubts=doubts)


def _attribute_contract(error: Raised, context: Context) -> Judged | None:
    """CKPT001: a checkpoint function reads what the callable does not have."""
    found = wordings.READS_ATTRIBUTE.search(error.message)
    if error.name != "AttributeError" or not found:
        return None
    missing = f"`{found['name']}`"
    if not error.frames:
        if found["object"] not in _CALLABLES or found["name"] != "__self__":
            return None
        return _suspected_read(missing, "the text has no traceback")
    reader_at = _reader(error.frames)
    handed_at = _passed_by(error.frames, reader_at)
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
        f"It looks like CKPT001, a checkpoint function that reads {missing} from what it is given, but {why}, and "
        "other code may fail with the same message."
    )
    return Judged(
        "suspected", summary, "CKPT001", None, handed, ["The frame that reads the attribute is not in the text."]
    )


def _cut_short(error: Raised, missing: str, kind: str) -> Judged | None:
    """The frame that reads is missing: only a hand-over, or a function on the way, allows a suspicion."""
    handed_at = _passed_by(error.frames, len(error.frames) - 1)
    touches = handed_at is not None or any(places.is_checkpoint_function(frame) for frame in error.frames)
    if not touches and kind not in _CALLABLES:
        return None
    handed = error.frames[handed_at] if handed_at is not None else None
    return _suspected_read(missing, "the frame that reads it is missing", handed)


def _reader(frames: list[Place]) -> int:
    """The innermost frame that is not a library's helper."""
    own = [at for at, frame in enumerate(frames) if not places.is_helper(frame)]
    return own[-1] if own else len(frames) - 1


def _passed_by(frames: list[Place], until: int) -> int | None:
    """The innermost line up to there that calls a checkpoint function, or from which one was called."""
    for at in range(until, -1, -1):
        if places.path(frames[at]).endswith("torch/autograd/__init__.py"):
            return None  # in backward, whoever handed the layer over has long returned
        if places.may_hand_over(frames[at]) and not places.is_checkpoint_file(frames[at]):
            return at
    return _caller(frames, until)


def _caller(frames: list[Place], until: int) -> int | None:
    """Where the source line is missing or cropped: the frame of a model right above the checkpoint function."""
    first = next((at for at in range(until + 1) if places.is_checkpoint_file(frames[at])), None)
    if first is None:
        return None
    above = [at for at in range(first) if not places.is_helper(frames[at])]
    if not above:
        return None
    caller = frames[above[-1]]
    is_model = caller.package == "transformers" and (not caller.code or caller.code.endswith(places.CROPPED))
    return above[-1] if is_model else None


def _recomputation_mismatch(error: Raised, context: Context) -> Judged | None:
    """CKPT007: torch's CheckpointError."""
    if error.name != "CheckpointError":
        return None
    message = " ".join(error.message.split())
    words = (
        wordings.MISMATCH.search(message)
        or wordings.RECOMPUTED.search(message)
        or _WRAPPED_MISMATCH.search(message.replace(" ", ""))
    )
    from_torch = error.type.startswith("torch.utils.checkpoint.") or message.startswith("torch.utils.checkpoint")
    seen = any(places.path(frame).endswith("torch/utils/checkpoint.py") for frame in error.frames)
    if not (words or from_torch or seen or _lists_metadata(error.message)):
        # Other packages call errors of loading and saving so as well.
        return _suspected_mismatch(error) if context.is_checkpointing or _runs_backward(error.frames) else None
    differs = difference(error.message)
    doubts = [] if differs else ["What differs between the two runs of the layer is not in the text."]
    if not error.frames:
        doubts.append("There is no traceback with it.")
    if differs and differs.is_emptied:
        doubts.append(
            "One side has the shape [0], as a parameter has that ZeRO 3 has partitioned; that is a hint, no proof."
        )
    wrappers = sorted({one.package for one in error.frames if places.hands_over(one)})
    if any("checkpoint_wrapper.py" in places.path(one) for one in error.frames) and wrappers:
        doubts.append(
            "Two mechanisms checkpoint at once in this traceback: torch's checkpoint_wrapper and the model's own."
        )
    what = differs.sentence if differs else first_line(error.message).removeprefix("torch.utils.checkpoint: ")
    return Judged(
        "ours",
        "torch finds in backward that the recomputed layer saved other tensors than its forward pass did"
        f"{f': {what}' if words or differs else '.'}",
        "CKPT007",
        doubts=doubts,
    )


_WRAPPED_MISMATCH = re.compile(wordings.MISMATCH.pattern.replace(" ", ""))
"""The same words, wrapped within one."""


def _runs_backward(frames: list[Place]) -> bool:
    return any(places.path(one).endswith(("torch/_tensor.py", "torch/autograd/__init__.py")) for one in frames)


def _suspected_mismatch(error: Raised) -> Judged:
    return Judged(
        "suspected",
        f"It looks like CKPT007: torch's error is called {error.name}, but what it said is not in the text.",
        "CKPT007",
        doubts=["What differs between the two runs of the layer is not in the text."],
    )


@dataclass(frozen=True)
class Difference:
    """What differs between what the forward pass saved and what its recomputation did.

    Attributes:
        sentence: What it is, in words.
        kind: In what they differ first.
        is_emptied: One side has no elements.
    """

    sentence: str
    kind: Literal["count", "shape", "dtype", "device", "other"]
    is_emptied: bool = False


_COUNTS = re.compile(
    r"Number of tensors saved during forward: (?P<forward>\d{1,9})\s{1,9}Number of tensors saved during recomputation: "
    r"(?P<again>\d{1,9})"
)
_PAIR = re.compile(
    r"saved metadata:\s{0,40}\{(?P<saved>[^{}]{1,400})\}\s{1,40}recomputed metadata:\s{0,40}\{(?P<again>[^{}]{1,400})\}"
)
_FIELDS = {
    "shape": re.compile(r"'shape': torch\.Size\((?P<value>\[[\d, ]{0,100}\])\)"),
    "dtype": re.compile(r"'dtype': torch\.(?P<value>\w{1,40})"),
    "device": re.compile(r"'device': (?:device\(type=)?(?P<value>[\w':=, ]{1,60})"),
}
_POSITION = re.compile(r"tensor at position (?P<position>\d{1,9})")


def difference(message: str) -> Difference | None:
    """What torch's message says that differs, nothing where it does not get as far."""
    text = " ".join(message.split())
    if counts := _COUNTS.search(text):
        sentence = f"{counts['forward']} tensors were saved in the forward pass and {counts['again']} in recomputation."
        return Difference(sentence, "count")
    pair = _PAIR.search(text)
    if pair is None:
        return None
    position = _POSITION.search(text[: pair.start()])
    at = f"the tensor at position {position['position']}" if position else "a tensor"
    for kind, pattern in _FIELDS.items():
        saved, again = pattern.search(pair["saved"]), pattern.search(pair["again"])
        if saved and again and saved["value"] != again["value"]:
            sentence = (
                f"{at} has the {kind} {saved['value']} in the forward pass and {again['value']} in recomputation."
            )
            return Difference(sentence, kind, "[0]" in (saved["value"], again["value"]))  # type: ignore[arg-type]
    return Difference(f"{at} has other metadata in recomputation than in the forward pass.", "other")


def _lists_metadata(message: str) -> bool:
    """Whether both lines are there with which torch, and nobody else, says what differs."""
    return bool(_PAIR.search(" ".join(message.split())))


def _gradients_missing(error: Raised, context: Context) -> Judged | None:
    """CKPT004: nothing that enters the checkpoint requires grad."""
    if not wordings.NO_GRAPH.search(error.message):
        return None
    frames = [one for one in error.frames if places.is_checkpoint_function(one) or places.hands_over(one)]
    if not frames and not context.warns_of_lost_gradients:
        if context.is_checkpointing:
            return Judged(
                "suspected",
                "It looks like CKPT004: the loss has no graph, and the text says that checkpointing is used; under reentrant "
                "checkpointing that is so when nothing that enters a checkpoint requires grad.",
                "CKPT004",
                doubts=[
                    "torch's warning about the inputs of a checkpoint is not in the text; a loss loses its graph otherwise too."
                ],
            )
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
        f"({shown} shows it).",
        "CKPT004",
        frames[-1] if frames else None,
    )


def _measured_fault(error: Raised, context: Context) -> Judged | None:
    """CKPT010 and CKPT011: the very line at which the shipped knowledge saw the function fail."""
    for frame in reversed(error.frames):
        fault = known.fault_at(frame, error.type) if not places.is_helper(frame) else None
        if fault and fault.rule in ("CKPT010", "CKPT011") and _fits(error, fault.rule):
            handed_at = _passed_by(error.frames, error.frames.index(frame))
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


_WHETHER = "Whether the step runs without checkpointing is not in the text; `ckptdoctor check` tries it."


def _does_not_run(error: Raised, context: Context) -> Judged | None:
    """CKPT010: raised by what runs under checkpointing only."""
    if not error.is_certain:
        return None
    last = error.frames[_reader(error.frames)] if error.frames else None
    handed_at = _passed_by(error.frames, len(error.frames) - 1) if error.frames else None
    handed = error.frames[handed_at] if handed_at is not None and error.frames[handed_at] != last else None
    if _only_under_checkpointing(error, last):
        summary = f"The step raises what only checkpointing raises: {_short(error)}"
        return Judged("ours", summary, "CKPT010", last, handed, [_WHETHER])
    if wordings.READY_ONCE.search(error.message) and _may_be_reentrant(error, context):
        summary = (
            "It looks like CKPT010: DistributedDataParallel names reentrant checkpointing as one of the causes of this "
            "error, among others."
        )
        return Judged("suspected", summary, "CKPT010", doubts=[_WHETHER])
    if _repeats_under_checkpointing(error, context):
        summary = f"It looks like CKPT010: {_short(error)}, and the text says that checkpointing is used."
        return Judged("suspected", summary, "CKPT010", None, handed, [_WHETHER])
    if any(_SWITCHES_ON.search(f"{one.function}( {one.code}") for one in error.frames):
        summary = f"It looks like CKPT010: {_short(error)} was raised while checkpointing was switched on."
        return Judged("suspected", summary, "CKPT010", last, None, [_WHETHER])
    is_own = bool(error.frames) and places.is_checkpoint_file(error.frames[-1]) and not error.is_cut_before_error
    if last and is_own and error.name != "CheckpointError" and not error.is_mention:
        summary = f"It looks like CKPT010: {_short(error)} was raised in the checkpoint function's own code."
        return Judged("suspected", summary, "CKPT010", last, handed, [_WHETHER])
    return None


_SWITCHES_ON = re.compile(
    r"\b(?:(?:gradient|activation)_checkpointing_enable|_set_gradient_checkpointing|enable_gradient_checkpointing"
    r"|_prepare_model_for_gradient_checkpointing)\("
)


def _may_be_reentrant(error: Raised, context: Context) -> bool:
    """Whether the text has more than the error, which parameters that are used twice raise as well."""
    return (
        context.is_checkpointing
        or context.names_reentrant
        or any(places.is_checkpoint_file(one) for one in error.frames)
    )


def _only_under_checkpointing(error: Raised, last: Place | None) -> bool:
    """What is raised for checkpointing's own sake."""
    message = " ".join(error.message.split())
    if error.name.endswith("Warning"):
        return False
    refused = last and "Unexpected keyword arguments" in message and places.path(last).endswith("/checkpoint.py")
    worded = (wordings.INCOMPATIBLE, wordings.NOT_SWITCHED, wordings.REFUSES, wordings.REENTRANT_KEYWORD)
    typed = (wordings.UNSUPPORTED, wordings.REENTRANT_DEMANDED)  # said in docs and in warnings too
    return bool(
        refused
        or any(words.search(message) for words in worded)
        or (error.name == "ValueError" and any(words.search(message) for words in typed))
    )


def _repeats_under_checkpointing(error: Raised, context: Context) -> bool:
    """A recursion without end, or a second backward pass, where checkpointing runs a layer again."""
    if not (wordings.RECURSION.search(error.message) or wordings.SECOND_BACKWARD.search(error.message)):
        return False
    if error.frames:
        return any(places.is_checkpoint_file(one) for one in error.frames)
    return context.is_checkpointing


def _runs_without(error: Raised, context: Context) -> Judged | None:
    """CKPT010: by what the writer says, since an error of a layer does not tell."""
    if not context.runs_without or not error.is_certain:
        return None
    summary = f"It looks like CKPT010: the writer says that it runs without checkpointing. {_short(error)}"
    return Judged("suspected", summary, "CKPT010", doubts=[_WHETHER.replace("not in the text", "said, not shown")])


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
    _runs_without,
)
