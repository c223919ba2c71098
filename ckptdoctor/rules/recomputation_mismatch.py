"""CKPT007: torch raises CheckpointError in backward."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from ckptdoctor.model.evidence import Place
from ckptdoctor.planning.options import TORCH
from ckptdoctor.rules.common.case import Case
from ckptdoctor.rules.common.log import ErrorText, Frame, InLog, LogContext, LogError, LogVerdict, Message
from ckptdoctor.rules.common.rule import Rule, RuleHit
from ckptdoctor.words.wording import engines_in_words, first_line


def judge(case: Case) -> RuleHit | None:
    """Fires on torch's CheckpointError."""
    error = case.evidence.error
    if not case.is_checkpointed or error is None or not error.type.endswith("CheckpointError"):
        return None
    under = "" if case.spec.engine == "none" else f" under {engines_in_words([case.spec.engine])}"
    first = error.message.strip().splitlines()[0] if error.message.strip() else ""
    engine = _engine_to_blame(case)
    if engine is not None or case.fails_alike_with_torch():
        also = ", also with torch's own checkpoint function" if case.spec.function not in TORCH else ""
        alone = " Without an engine, the same step trains." if engine is not None else ""
        return RuleHit(
            title=(
                f"Non-reentrant checkpointing and {engines_in_words([case.spec.engine])} do not work together here"
                f"{case.variant_text}"
            ),
            detail=f"torch raised CheckpointError in backward{under}{also}: {first}{alone}",
            culprit=engine,
        )
    return RuleHit(
        title=f"{case.spec.function}: recomputation saves other tensors than the forward pass",
        detail=f"torch raised CheckpointError in backward{under}{case.step_text}: {first}",
        culprit=case.function,
        passed_by=case.passed_by,
    )


def _engine_to_blame(case: Case) -> Place | None:
    """The engine's innermost line, if torch's own function fails under it and the same step trains without an engine."""
    return case.line_of_engine() if case.clashes_with_engine() else None


# In a log


_MISMATCH = re.compile(
    r"A different number of tensors was saved during the original forward and recomputation"
    r"|Recomputed values for the following tensors have different metadata than during the forward pass"
    r"|trying to save more tensors during recomputation than during the original forward pass"
    r"|Unpack is being triggered for a tensor that was already unpacked once"
    r"|An error happened while unpacking tensors; dumping logs of latest computation"
)
"""torch's CheckpointError since torch 2.1."""

_WRAPPED_MISMATCH = re.compile(_MISMATCH.pattern.replace(" ", ""))
"""The same words, wrapped in the middle of a word."""

_RECOMPUTED = re.compile(
    r"recomput\w{1,6}\b[^.\n]{0,60}\b(?:mismatch\w{0,2}|do(?:es)? not match|differs?)\b[^\n]{0,200}checkpoint"
    r"|checkpoint[^\n]{0,200}\b(?:mismatch\w{0,2}|differs?)\b[^.\n]{0,60}recomput",
    re.IGNORECASE,
)
"""The same error as people describe it."""

_METADATA = re.compile(r"\b(?:saved|recomputed) metadata:\s{0,40}\{")
"""The lines in which torch lists the difference."""

_TYPE = re.compile(r"(?<![\w.])torch\.utils\.checkpoint\.CheckpointError\b(?!\s{0,3}(?:,|\)|as\b|:$))")


def judge_log(error: LogError, context: LogContext) -> LogVerdict | None:
    """Recognises torch's CheckpointError; other packages have errors of that name for loading and saving."""
    if error.name != "CheckpointError":
        return None
    has_words = bool(
        _MISMATCH.search(error.words)
        or _RECOMPUTED.search(error.words)
        or _WRAPPED_MISMATCH.search(error.words.replace(" ", ""))
    )
    from_torch = error.type.startswith("torch.utils.checkpoint.") or error.words.startswith("torch.utils.checkpoint")
    seen = any(frame.path.endswith("torch/utils/checkpoint.py") for frame in error.frames)
    lists_metadata = bool(_PAIR.search(error.words))
    if has_words or from_torch or seen or lists_metadata:
        return _explained(error, has_words, lists_metadata)
    if context.is_checkpointing or _runs_backward(error.frames):
        return LogVerdict(
            "suspected",
            f"It looks like {CODE}: torch's error has the name {error.name}, but its message is not in the text.",
            doubts=["The text does not say what differs between the two runs of the layer."],
            fixes=_fixes(error),
        )
    return None


def _explained(error: LogError, has_words: bool, lists_metadata: bool) -> LogVerdict:
    differs = difference(error.words)
    doubts = [] if differs else ["The text does not say what differs between the two runs of the layer."]
    if not error.frames:
        doubts.append("The text has no traceback.")
    if differs and differs.is_emptied:
        doubts.append(
            "One side has the shape [0]. A parameter that ZeRO 3 has partitioned has this shape; that is a hint, not a proof."
        )
    if _is_wrapped_twice(error) and any(frame.passes_layer for frame in error.frames):
        doubts.append(
            "Two mechanisms checkpoint at once in this traceback: torch's checkpoint_wrapper and the model's own."
        )
    what = differs.sentence if differs else first_line(error.message).removeprefix("torch.utils.checkpoint: ")
    return LogVerdict(
        "ours",
        "torch reports in backward that the recomputed layer saved other tensors than its forward pass"
        f"{f': {what}' if has_words or differs else '.'}",
        doubts=doubts,
        fixes=_fixes(error),
        rests_on_frames=False,
        is_unmistakable=lists_metadata,
    )


def _runs_backward(frames: list[Frame]) -> bool:
    return any(frame.path.endswith(("torch/_tensor.py", "torch/autograd/__init__.py")) for frame in frames)


def _is_wrapped_twice(error: LogError) -> bool:
    return any("checkpoint_wrapper.py" in frame.path for frame in error.frames)


@dataclass(frozen=True)
class Difference:
    """The difference between the tensors that the forward pass saved and those that recomputation saved.

    Attributes:
        sentence: The difference in words.
        kind: The first property that differs.
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
"""The two lines in which torch, and nothing else, reports the difference."""

_FIELDS: tuple[tuple[Literal["shape", "dtype", "device"], re.Pattern[str]], ...] = (
    ("shape", re.compile(r"'shape': torch\.Size\((?P<value>\[[\d, ]{0,100}\])\)")),
    ("dtype", re.compile(r"'dtype': torch\.(?P<value>\w{1,40})")),
    ("device", re.compile(r"'device': (?:device\(type=)?(?P<value>[\w':=, ]{1,60})")),
)
_POSITION = re.compile(r"tensor at position (?P<position>\d{1,9})")


def difference(words: str) -> Difference | None:
    """The difference that torch's message, in one line, reports; nothing if the message is cut before it."""
    if counts := _COUNTS.search(words):
        sentence = f"{counts['forward']} tensors were saved in the forward pass and {counts['again']} in recomputation."
        return Difference(sentence, "count")
    pair = _PAIR.search(words)
    if pair is None:
        return None
    position = _POSITION.search(words[: pair.start()])
    at = f"the tensor at position {position['position']}" if position else "a tensor"
    for kind, pattern in _FIELDS:
        saved, again = pattern.search(pair["saved"]), pattern.search(pair["again"])
        if saved and again and saved["value"] != again["value"]:
            sentence = (
                f"{at} has the {kind} {saved['value']} in the forward pass and {again['value']} in recomputation."
            )
            return Difference(sentence, kind, "[0]" in (saved["value"], again["value"]))
    return Difference(f"{at} has other metadata in recomputation than in the forward pass.", "other")


def _fixes(error: LogError) -> list[str]:
    differs = difference(error.words)
    is_emptied = differs.is_emptied if differs else "torch.Size([0])" in error.message
    found = []
    if is_emptied:
        found.append(
            "If you train adapters with frozen parameters (PEFT) under DeepSpeed ZeRO 3: set "
            "`gradient_checkpointing_kwargs={'use_reentrant': True}`."
        )
    if _is_wrapped_twice(error):
        found.append("If both FSDP and the trainer checkpoint the layers: keep one of the two settings.")
    if differs and differs.kind == "count":
        found.append("If the model is a mixture of experts: keep the router's output, or do not checkpoint the router.")
    if differs and differs.kind == "shape" and not is_emptied:
        found.append("If a key-value cache is on in training: set `use_cache=False`.")
    if differs and differs.kind == "dtype":
        found.append(
            "If FSDP2 casts the inputs of a layer (mixed precision): use a newer torch; users report that it helps."
        )
    # Reentrant checkpointing is no fix in general: torch does not compare then, and gradients may be wrong.
    found.append(
        "If the cause is not clear: train in `with torch.utils.checkpoint.set_checkpoint_debug_enabled(True):`. torch then "
        "lists the operators of both runs."
    )
    return found


CODE = "CKPT007"

_ERROR = "torch.utils.checkpoint.CheckpointError: torch.utils.checkpoint:"
_OTHER_METADATA = (
    f"{_ERROR} Recomputed values for the following tensors have different metadata than during the forward pass."
)
_OTHER_NUMBER = f"{_ERROR} A different number of tensors was saved during the original forward and recomputation."
_MORE_SAVED = f"{_ERROR} trying to save more tensors during recomputation than during the original forward pass."


def _with_metadata(saved: str, again: str) -> str:
    return f"{_OTHER_METADATA}\ntensor at position 4:\nsaved metadata: {{{saved}}}\nrecomputed metadata: {{{again}}}"


_TEXTS = (
    ErrorText(
        _OTHER_METADATA,
        "The lines after it say what differs between the two runs of a layer. What helps depends on that.",
        shown=(
            _with_metadata("'shape': torch.Size([2048])", "'shape': torch.Size([0])"),
            _with_metadata("'shape': torch.Size([32, 32])", "'shape': torch.Size([64, 32])"),
            _with_metadata("'dtype': torch.float32", "'dtype': torch.bfloat16"),
        ),
        reports=(
            "https://github.com/huggingface/transformers/issues/47254",
            "https://github.com/hiyouga/LlamaFactory/issues/6438",
            "https://github.com/huggingface/trl/issues/5217",
            "https://github.com/deepspeedai/DeepSpeed/pull/8148",
            "https://github.com/pytorch/pytorch/issues/141896",
        ),
    ),
    ErrorText(
        _OTHER_NUMBER,
        "The layer took another way in the second run: it saved more or fewer tensors.",
        shown=(
            f"{_OTHER_NUMBER}\nNumber of tensors saved during forward: 27\nNumber of tensors saved during recomputation: 8",
        ),
        reports=(
            "https://github.com/deepspeedai/DeepSpeed/issues/8130",
            "https://github.com/NVIDIA-NeMo/Automodel/issues/1621",
            "https://github.com/pytorch/pytorch/issues/144035",
        ),
    ),
    ErrorText(
        _MORE_SAVED,
        "The layer took another way in the second run: it saved more tensors than in the first.",
        reports=("https://github.com/pytorch/torchtitan/issues/1971",),
    ),
)

IN_LOG = InLog(
    judge_log,
    messages=(
        Message(_MISMATCH, "CheckpointError", "tensors|already unpacked"),
        Message(_METADATA, "CheckpointError", "metadata:"),
        Message(_RECOMPUTED, "CheckpointError", "recomput"),
        Message(_TYPE, "CheckpointError", "checkpoint"),
    ),
    long_messages=("CheckpointError",),
    texts=_TEXTS,
)

RULE = Rule(
    code=CODE,
    name="recomputation-mismatch",
    meaning="torch raises CheckpointError: recomputation saved other tensors than the forward pass did.",
    explanation="""\
With `use_reentrant=False`, torch checks that the recomputed layer saves the same tensors as the forward pass: the same
number, shapes and types. If they differ, torch raises `CheckpointError`:

    torch.utils.checkpoint.CheckpointError: torch.utils.checkpoint: Recomputed values for the following tensors have
    different metadata than during the forward pass.

Something differs between the two runs of the layer. Usual causes: parameters that ZeRO 3 has partitioned in only one of the
two runs, a branch on training state, autocast, a compiled graph. With `use_reentrant=True`, torch does not check.""",
    links=(
        "https://github.com/huggingface/transformers/issues/47254",
        "https://github.com/deepspeedai/DeepSpeed/issues/8130",
        "https://github.com/deepspeedai/DeepSpeed/issues/8148",
    ),
    judge=judge,
    implies=("CKPT010",),
    in_log=IN_LOG,
)
