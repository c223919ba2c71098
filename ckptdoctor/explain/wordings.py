"""How torch, transformers and Python word the errors that gradient checkpointing ends in."""

from __future__ import annotations

import re
from typing import NamedTuple

_QUOTE = r"[\"'`]{0,2}"

READS_ATTRIBUTE = re.compile(
    rf"(?<![\w.]){_QUOTE}(?P<object>[A-Za-z_][\w.]{{0,80}}){_QUOTE}\s{{1,3}}object\s{{1,3}}has\s{{1,3}}no\s{{1,3}}attribute"
    rf"\s{{1,3}}{_QUOTE}(?P<name>__self__|__func__|func)\b{_QUOTE}"
)
"""A checkpoint function reads from the callable what it does not have."""

MISMATCH = re.compile(
    r"A different number of tensors was saved during the original forward and recomputation"
    r"|Recomputed values for the following tensors have different metadata than during the forward pass"
    r"|trying to save more tensors during recomputation than during the original forward pass"
    r"|Unpack is being triggered for a tensor that was already unpacked once"
    r"|An error happened while unpacking tensors; dumping logs of latest computation"
)
"""torch's CheckpointError since torch 2.1."""

RECOMPUTED = re.compile(
    r"recomput\w{1,6}\b[^.\n]{0,60}\b(?:mismatch\w{0,2}|do(?:es)? not match|differs?)\b[^\n]{0,200}checkpoint"
    r"|checkpoint[^\n]{0,200}\b(?:mismatch\w{0,2}|differs?)\b[^.\n]{0,60}recomput",
    re.IGNORECASE,
)
"""The same in the words of people."""

METADATA = re.compile(r"\b(?:saved|recomputed) metadata:\s{0,40}\{")
"""The lines with which torch lists what differs."""

NOT_SWITCHED = re.compile(
    rf"(?:{_QUOTE}[A-Za-z_][\w.]{{0,80}}{_QUOTE} )?object has no attribute {_QUOTE}"
    r"(?:_gradient_checkpointing_func|_set_gradient_checkpointing|(?:gradient|activation)_checkpointing_enable|enable_gradient_checkpointing)\b"
)
"""A model without what checkpointing is switched on with."""

REFUSES = re.compile(
    r"\b(?:_set_gradient_checkpointing|(?:gradient|activation)_checkpointing_enable|enable_gradient_checkpointing)\(\) "
    r"(?:got an unexpected keyword argument|got multiple values|takes (?:from )?\d|missing \d)"
)
"""A model's method that switches checkpointing on, called with arguments of another release."""

REENTRANT_KEYWORD = re.compile(
    r"(?<!__init__\(\) )got an unexpected keyword argument 'use_reentrant'"
    r"|missing \d{1,2} required [a-z -]{0,40}arguments?: [^\n]{0,200}'use_reentrant'"
)
"""A checkpoint function that does not take, or demands, what torch's takes."""

REENTRANT_DEMANDED = re.compile(r"please pass in use_reentrant=|use_reentrant parameter should be passed explicitly")
"""What torch demands; it also warns in these words."""

UNSUPPORTED = re.compile(r"\b[A-Z]\w{2,80} does not support gradient checkpointing")

INCOMPATIBLE = re.compile(
    r"torch\.utils\.checkpoint is incompatible with \.grad\(\)"
    r"|Checkpointing is not compatible with \.grad\(\)"
    r"|none of output has requires_grad=True, this checkpoint\(\) is not necessary"
)
"""What torch's checkpoint function raises for its own sake."""

READY_ONCE = re.compile(r"Expected to mark a variable ready only once|has been marked as ready twice")
NO_GRAPH = re.compile(r"element \d{1,4}(?: or \d{1,4})? of tensors does not require grad")
SECOND_BACKWARD = re.compile(r"backward through (?:the )?graph a second time")
RECURSION = re.compile(r"maximum recursion depth exceeded")
WATCHDOG = re.compile(r"Watchdog caught collective operation timeout")

LOST_GRADIENTS = "None of the inputs have requires_grad=True"
"""What torch warns of when nothing that enters a reentrant checkpoint requires grad."""


class Mention(NamedTuple):
    """An error in the words of its message, its type left out."""

    type: str
    message: str


_MENTIONS = (
    (WATCHDOG, "Watchdog"),
    (re.compile(READS_ATTRIBUTE.pattern.replace("|__func__|func)", ")")), "AttributeError"),
    (NOT_SWITCHED, "AttributeError"),
    (REFUSES, "TypeError"),
    (REENTRANT_KEYWORD, "TypeError"),
    (MISMATCH, "CheckpointError"),
    (METADATA, "CheckpointError"),
    (RECOMPUTED, "CheckpointError"),
    (
        re.compile(r"(?<![\w.])torch\.utils\.checkpoint\.CheckpointError\b(?!\s{0,3}(?:,|\)|as\b|:$))"),
        "CheckpointError",
    ),
    (INCOMPATIBLE, "RuntimeError"),
    (READY_ONCE, "RuntimeError"),
    (NO_GRAPH, "RuntimeError"),
    (SECOND_BACKWARD, "RuntimeError"),
    (RECURSION, "RecursionError"),
)
_LITERAL = re.compile(
    r"(?:^\s*(?:[-+]\s*)?|[(,=\[{]\s*)[rbfuRBFU]{0,2}[\"']{1,3}(?:torch\.utils\.checkpoint: )?[^\"']{0,40}$"
)
_STATEMENT = re.compile(r"^\s*(?:[-+]\s*)?(?:raise|assert|except|import|from\s\S+\simport)\s")


_SUPPOSED = re.compile(
    r"\b(?:not|never|no longer)\b\W{1,6}(?:raise|throw|fail|see|get)"
    r"|\bif you\b|\b(?:may|might|can|could|would|will) (?:\w{1,12} ){0,2}"
    r"(?:result|lead|cause|raise|trigger|fail|error|see|get|encounter)"
    r"|\b(?:avoids?|avoiding|prevents?|suppress\w{0,3}|ignore|harmless|filterwarnings|instead of)\b"
    r"|如果|若|可能会|避免|防止|忽略",
    re.IGNORECASE,
)


def is_statement(text: str) -> bool:
    """Whether it is a line of a program that raises, catches or imports an error."""
    return bool(_STATEMENT.match(text))


def is_supposed(text: str) -> bool:
    """Whether it speaks of an error that may come, as advice and comments in programs do, and not of one that came."""
    return bool(_SUPPOSED.search(text))


def warns_of_lost_gradients(text: str) -> bool:
    """Whether a line is torch's warning, and not a program or a page about it."""
    start = text.find(LOST_GRADIENTS)
    return start >= 0 and not _LITERAL.search(text[:start]) and not is_supposed(text)


_TELLING = re.compile(
    r"attribute|checkpoint|metadata:|tensors|recomput|mark(?:ed)? a[ s]|a second time|require|recursion|Watchdog",
    re.IGNORECASE,
)
"""A word of each of them: most lines have none."""


def mentioned(text: str) -> Mention | None:
    """The error whose message a line has, where it is no line of a program that raises, matches or documents it."""
    if not _TELLING.search(text) or is_statement(text):
        return None
    for words, type_ in _MENTIONS:
        found = words.search(text)
        if found and not _LITERAL.search(text[: found.start()]):
            return Mention(type_, text[found.start() :].strip())
    return None
