"""Decodes the notations of logs: JSON, escapes, HTML, colours, curly quotes."""

from __future__ import annotations

import html
import io
import re
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice

import msgspec

from ckptdoctor.explain.lines import HEADER, LONGEST, MOST, OURS_LEFT_OUT, Raw

_ANSI = re.compile(r"\x1b(?:\[[0-?]{0,64}[ -/]{0,8}[@-~]|\][^\x07\x1b\n]{0,2000}(?:\x07|\x1b\\)|[@-Z\\^_])")
_ENTITIES = re.compile(r"&(?:quot|lt|gt|#39|#x27|#34|#x22);")
_PLAIN = {
    **dict.fromkeys(map(ord, "\u201c\u201d\u201e\u201f\uff02"), '"'),
    **dict.fromkeys(map(ord, "\u2018\u2019\u201a\u201b\uff07"), "'"),
    **dict.fromkeys(map(ord, "\u00a0\u2007\u202f\u3000"), " "),
    **dict.fromkeys(map(ord, "\u200b\u2060\ufeff\x00")),
    0xFF1A: ":",
}
"""Characters that word processors, chat programs and input methods write, with the characters that Python wrote."""

_RANKS = re.compile(r"(?<=\S)(?<!\]:)(?=\[rank\d{1,6}\]:)")
"""The place where a process starts to write in the middle of another process's line."""

_OTHER_NOTATION = re.compile(r'[\r\\]|\{"|\[rank')
"""Lines that may contain several lines, or one in another notation."""

_LONGEST_RECORD = 2**20
_RECORD_TEXT = re.compile(
    r"message|msg|log|text|event|line|content|err(?:or)?|exc(?:eption|_info|_text)?|traceback|stack(?:_?trace|_info)?|record|body",
    re.IGNORECASE,
)
"""Fields of JSON loggers that hold the message."""


def read(text: str) -> list[Raw]:
    """The lines of a text; each piece of a record is a line. Of very many lines, the first and the last."""
    return _bounded(_raw(text))


def _bounded(lines: Iterable[Raw]) -> list[Raw]:
    rest = iter(lines)
    head = list(islice(rest, MOST // 2))
    tail: deque[Raw] = deque(maxlen=MOST // 2)
    seen = 0
    for line in rest:
        seen += 1
        tail.append(line)
    left_out = seen - len(tail)
    if not left_out:
        return [*head, *tail]
    return [*head, Raw(tail[0].number, "", f"[... {left_out} lines {OURS_LEFT_OUT}"), *tail]


def _raw(text: str) -> Iterator[Raw]:
    alike, before = 0, ""
    for number, ended in enumerate(io.StringIO(_readable(text).replace("\r\n", "\n")), 1):
        line = ended.removesuffix("\n")
        alike = alike + 1 if line == before else 0
        before = line
        if alike > 1:  # two processes may write the same line; more copies add nothing
            continue
        if not _OTHER_NOTATION.search(line):
            yield Raw(number, "", line[:LONGEST].rstrip())
            continue
        label, whole = _from_record(line) or ("", line)
        if HEADER in whole and "\\n" in whole:  # some loggers write a traceback in one line
            whole = whole.replace("\\n", "\n").replace('\\"', '"')
        for part in re.split(r"[\r\n]", whole.replace("\\'", "'")):
            for piece in _RANKS.split(part):
                yield Raw(number, label, piece[:LONGEST].rstrip())


def _from_record(line: str) -> tuple[str, str] | None:
    """The label and the text of a record of a logger that writes JSON."""
    start = line.find('{"')
    if start < 0 or not line.rstrip().endswith("}") or len(line) > _LONGEST_RECORD:
        return None
    try:
        record = msgspec.json.decode(line[start:].strip(), type=dict[str, object])
    except (msgspec.DecodeError, RecursionError):
        return None
    texts = list(_texts(record, 3))
    rank = record.get("rank")
    return (f"rank{rank}" if isinstance(rank, int) else "", "\n".join(texts)) if texts else None


def _texts(record: dict[str, object], depth: int) -> Iterator[str]:
    for key, value in record.items():
        if not _RECORD_TEXT.fullmatch(key):
            continue
        if isinstance(value, str):
            yield value.rstrip("\n")
        elif isinstance(value, dict) and depth:
            yield from _texts(value, depth - 1)


def _readable(text: str) -> str:
    """The text without colours and halves of characters, with plain quotes and with HTML entities resolved."""
    text = _ANSI.sub("", text.encode("utf-8", "replace").decode())
    for _ in range(2):  # text that was escaped twice needs two rounds
        if not _ENTITIES.search(text):
            break
        text = html.unescape(text)
    return text.translate(_PLAIN)
