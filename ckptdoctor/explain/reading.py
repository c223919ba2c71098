"""Reads a log of any size and encoding into text."""

from __future__ import annotations

import codecs
import sys
from collections.abc import Iterable
from contextlib import nullcontext
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ckptdoctor.errors import UsageFault
from ckptdoctor.explain.lines import OURS_LEFT_OUT

LIMIT = 4 * 2**20
"""Bytes that are read at each end of a log: the cause of a failure is near one of them."""

_CHUNK = 2**20
_BINARY = 0.05
"""Above this share of control characters, the input is not text."""


class Log(NamedTuple):
    """A log as text, with notes on how it was read."""

    text: str
    notes: list[str]


def read(name: str) -> Log:
    """Read a file, or standard input for ``-``; only the head and the tail of a big one.

    Raises:
        UsageFault: There is no such file, or it cannot be read.
    """
    if name != "-" and Path(name).is_dir():
        raise UsageFault(f"{name} is a folder.", "name a file with a log or an issue text, or - for standard input")
    if name == "-" and sys.stdin is None:
        raise UsageFault("Standard input is closed.", "name a file with a log or an issue text, or pipe one in")
    try:
        with nullcontext(sys.stdin.buffer) if name == "-" else Path(name).open("rb") as stream:
            return _decoded(*_ends(stream))
    except (OSError, ValueError) as error:  # ValueError: a name with a null byte, a stream that was closed
        why = getattr(error, "strerror", None) or str(error)
        what = "Standard input" if name == "-" else name
        raise UsageFault(
            f"{what} cannot be read: {why}.", "name a file with a log or an issue text, or - for standard input"
        ) from error


def _ends(stream: BinaryIO) -> tuple[bytes, bytes, int]:
    """The first bytes, the last bytes, and the number of bytes in between."""
    head, tail, total = bytearray(), bytearray(), 0
    for chunk in _chunks(stream):
        total += len(chunk)
        room = LIMIT - len(head)
        head += chunk[:room]
        tail += chunk[room:]
        if len(tail) > LIMIT + 8 * _CHUNK:  # cut rarely: each cut copies the rest
            del tail[:-LIMIT]
    del tail[:-LIMIT]
    left_out = total - len(head) - len(tail)
    if left_out % 2:  # keeps UTF-16 in step, at the price of a byte
        del tail[:1]
        left_out += 1
    return bytes(head), bytes(tail), left_out


def _chunks(stream: BinaryIO) -> Iterable[bytes]:
    while chunk := stream.read(_CHUNK):
        yield chunk


def _decoded(head: bytes, tail: bytes, left_out: int) -> Log:
    encoding = _encoding(head)
    notes = []
    if left_out:
        text = head.decode(encoding, "replace") + f"\n[... {left_out} bytes {OURS_LEFT_OUT}\n"
        text += tail.decode(encoding, "replace")
        notes.append(
            f"The log is big: {left_out} bytes between its head and its tail were not read, and lines are counted "
            "without them."
        )
    else:
        text = (head + tail).decode(encoding, "replace")
    text = text.removeprefix("\ufeff")
    if _is_binary(text):
        notes.append("Much of the input is not text. It may be the wrong file.")
    return Log(text, notes)


def _encoding(head: bytes) -> str:
    """By the byte order mark, else UTF-16 where every other byte is null, else UTF-8."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16-le" if head.startswith(codecs.BOM_UTF16_LE) else "utf-16-be"
    sample = head[:4000]
    half = max(1, len(sample) // 2)
    for encoding, nulls, others in (("utf-16-le", sample[1::2], sample[::2]), ("utf-16-be", sample[::2], sample[1::2])):
        if nulls.count(0) > 0.7 * half and others.count(0) < 0.1 * half:
            return encoding
    return "utf-8"


def _is_binary(text: str) -> bool:
    sample = text[:20000]
    strange = sum(not char.isprintable() and char not in "\n\r\t\x1b\x08" for char in sample) + sample.count("\ufffd")
    return strange > _BINARY * max(1, len(sample))
