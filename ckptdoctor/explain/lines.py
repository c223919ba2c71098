"""Frees the lines of a log from what launchers, loggers, terminals, editors and web pages put around them.

First other notations are read (JSON, escapes, HTML, colours, curly quotes), then prefixes are taken off, then lines that were
wrapped are joined. What stands in front of each line need not be known: it is learned from the lines of tracebacks, where what
belongs to Python is certain.
"""

from __future__ import annotations

import html
import io
import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import NamedTuple

import msgspec

LONGEST = 4000
"""Characters of a line that are looked at; no frame and no error line is as long."""

MOST = 100_000
"""Lines that are looked at."""

OURS_LEFT_OUT = "left out ...]"
"""How a line ends that stands for what was not looked at."""

HEADER = "Traceback (most recent call last)"

_ANSI = re.compile(r"\x1b(?:\[[0-?]{0,64}[ -/]{0,8}[@-~]|\][^\x07\x1b\n]{0,2000}(?:\x07|\x1b\\)|[@-Z\\^_])")
_ENTITIES = re.compile(r"&(?:quot|lt|gt|#39|#x27|#34|#x22);")
_PLAIN = {
    **dict.fromkeys(map(ord, "\u201c\u201d\u201e\u201f\uff02"), '"'),
    **dict.fromkeys(map(ord, "\u2018\u2019\u201a\u201b\uff07"), "'"),
    **dict.fromkeys(map(ord, "\u00a0\u2007\u202f\u3000"), " "),
    **dict.fromkeys(map(ord, "\u200b\u2060\ufeff\x00")),
    0xFF1A: ":",
}
"""What word processors, chat programs and input methods write, and what Python wrote."""

_RANKS = re.compile(r"(?<=\S)(?<!\]:)(?=\[rank\d{1,6}\]:)")
"""Where a process began to write in the middle of another one's line."""

_OTHER_NOTATION = re.compile(r'[\r\\]|\{"|\[rank')
"""Lines that may be more than one, or one in another notation."""

_LONGEST_RECORD = 2**20
_RECORD_TEXT = re.compile(
    r"message|msg|log|text|event|line|content|err(?:or)?|exc(?:eption|_info|_text)?|traceback|stack(?:_?trace|_info)?|record|body",
    re.IGNORECASE,
)
"""Fields in which loggers of JSON put what was logged."""

_MOST_PREFIXES = 8
_MOST_SHAPES = 20
_LONGEST_PREFIX = 160
_LONGEST_MARK = 3
"""Characters of a comment's mark."""

_TIME = r"\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?"
_LEVEL = r"(?:TRACE|DEBUG|INFO|SUCCESS|WARNING|WARN|ERROR|CRITICAL|FATAL)"
_NOISE = re.compile(
    rf"""(?:
        \[{_TIME}\] | {_TIME} | \[?\d\d:\d\d:\d\d(?:[.,]\d{{1,9}})?\]?  # when
      | [A-Z][a-z]{{2}}\s{{1,2}}\d{{1,2}}\s\d\d:\d\d:\d\d\s[\w.-]{{1,64}}\s[\w./-]{{1,64}}(?:\[\d{{1,9}}\])?:  # syslog
      | \[?[EWIF]\d{{3,4}}\s\d\d:\d\d:\d\d\.\d{{1,9}}\s{{1,8}}(?:\d{{1,20}}\s)?[\w./-]{{1,100}}:\d{{1,6}}\]  # absl, glog
      | \|\s{_LEVEL}\s{{0,8}}\|\s[\w.<>]{{1,100}}:[\w.<>]{{1,100}}:\d{{1,6}}\s-  # loguru
      | \[{_LEVEL}\s?(?:\|[^\]\n]{{1,200}})?\]  # how bad
      | {_LEVEL}\s{{0,4}}[:|-]
      | (?:stdout|stderr)(?:\s[FP])?[:\s]  # which stream
      | [>│┃]+ | E(?=\s\s)\s{{2,40}} | \|(?=\s)  # quotes, boxes, pytest, exception groups
    )[ ]?""",
    re.VERBOSE,
)
"""What may stand in front of a line and says nothing of who wrote it."""

_LABEL = re.compile(
    r"""(?:
        \[(?P<rank>(?:rank|default|Rank\ |RANK)\d{1,6})\]:?
      | \[(?P<mpi>\d{1,6},\d{1,6})\](?:<std(?:out|err)>)?:
      | \[(?P<local>\d{1,6})\](?:<std(?:out|err)>:|:)
      | \((?P<ray>[A-Za-z_][\w.]{0,60}\ pid=\d{1,9})(?:,\ ip=[\w.:]{1,60})?\)
      | (?P<slurm>\d{1,5}):(?=\ )
    )[ ]?""",
    re.VERBOSE,
)
"""What tells one process from another; a number in brackets or before a colon as mpirun and srun write it."""

_COUNTED = re.compile(r"^\s*\[?(?P<number>\d{1,7})\]?:(?:\s|$)")
_TELLING = re.compile(rf'{re.escape(HEADER)}|File "[^"\n]')
_WORDS = re.compile(r"\d+|[ \t]+|[A-Z][a-z]{2}(?=\s+\d)|[^\d \t]+?(?=\d|[ \t]|$)")
_PROCESS = re.compile(
    r"(?<![\w.:-])(?P<process>(?![EWIF]\d{3,4}\b)[A-Za-z][\w.-]{0,60}(?:\d|\[\d{1,9}\]))(?=[\s:|\])}>]|$)"
)

_BOX_EDGE = re.compile(r"^[\s]*[╭╰┌└+][─━\-+ \d.]{3,}")
_GROUP_EDGE = re.compile(r"^\s*\+(?:-\+)?-{5,}")
_FENCE = re.compile(r"^\s*(?:```|~~~)")

_FRAME_BEGINS = re.compile(r'^\s*File "[^"\n]')
_FRAME_WHOLE = re.compile(r'^\s*File "[^"\n]{1,1000}", line \d{1,9}(?:, in \S.*)?$')
_BEGINS = re.compile(
    rf'^\s*(?:File "|{re.escape(HEADER)}|[~^]+\s*$|[\w.]*(?:Error|Exception|Warning)\b|During handling|The above exc|```|$)'
)
_MOST_PIECES = 5
"""Lines over which a frame may be wrapped."""


class Line(NamedTuple):
    """A line of a log."""

    number: int
    """From 1, in the text as it came."""
    label: str
    """Which process wrote it, as far as the line says so: ``rank3``, ``node01 rank3``."""
    text: str
    """Without what was put around it; what it is indented by is kept."""
    is_edge: bool = False
    """An edge of a box, a fence or a divider: what comes next is something else."""
    in_box: bool = False
    is_full: bool = False
    """It reaches the edge of its box, so that more of it may have been cropped."""


class _Raw(NamedTuple):
    number: int
    label: str
    text: str


@dataclass(frozen=True)
class _Prefixes:
    """What stands in front of the lines of this text."""

    learned: re.Pattern[str] | None = None
    is_numbered: bool = False
    """Numbers before a colon count the lines, they do not name processes."""


def split(text: str) -> list[Line]:
    """The lines of a log as Python wrote them, as far as that can be told; of very many the first and the last."""
    raw = _bounded(_raw(text))
    prefixes = _learn(raw)
    return _unwrapped([_line(one, prefixes) for one in raw], [len(one.text) for one in raw])


def _bounded(lines: Iterable[_Raw]) -> list[_Raw]:
    rest = iter(lines)
    head = list(islice(rest, MOST // 2))
    tail: deque[_Raw] = deque(maxlen=MOST // 2)
    seen = 0
    for line in rest:
        seen += 1
        tail.append(line)
    left_out = seen - len(tail)
    if not left_out:
        return [*head, *tail]
    return [*head, _Raw(tail[0].number, "", f"[... {left_out} lines {OURS_LEFT_OUT}"), *tail]


def _raw(text: str) -> Iterator[_Raw]:
    alike, before = 0, ""
    for number, ended in enumerate(io.StringIO(_readable(text).replace("\r\n", "\n")), 1):
        line = ended.removesuffix("\n")
        alike = alike + 1 if line == before else 0
        before = line
        if alike > 1:  # two processes may write the same; more than that says no more
            continue
        if not _OTHER_NOTATION.search(line):
            yield _Raw(number, "", line[:LONGEST].rstrip())
            continue
        label, whole = _from_record(line) or ("", line)
        if HEADER in whole and "\\n" in whole:  # a traceback in one line, as loggers write it
            whole = whole.replace("\\n", "\n").replace('\\"', '"')
        for part in re.split(r"[\r\n]", whole.replace("\\'", "'")):
            for piece in _RANKS.split(part):
                yield _Raw(number, label, piece[:LONGEST].rstrip())


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
    """Without colours and halves of characters, in plain quotes, entities of HTML resolved where there are any."""
    text = _ANSI.sub("", text.encode("utf-8", "replace").decode())
    for _ in range(2):  # what was escaped twice shows only after the first round
        if not _ENTITIES.search(text):
            break
        text = html.unescape(text)
    return text.translate(_PLAIN)


# Prefixes


def _learn(raw: list[_Raw]) -> _Prefixes:
    """What stands before headers and frames, where at least two of them have it."""
    known = _Prefixes(is_numbered=_is_numbered(raw))
    gaps: dict[str, list[int]] = {}
    for _, _, line in raw:
        if not _TELLING.search(line):
            continue
        rest, _ = _unlabelled(line, known)
        told = _TELLING.search(rest)
        before = rest[: told.start()] if told else ""
        prefix = before.rstrip()
        if told and _may_be_prefix(prefix, is_header=told[0] == HEADER):
            # A frame is indented by two.
            gap = len(before) - len(prefix) - (0 if told[0] == HEADER else 2)
            gaps.setdefault(_shape(prefix), []).append(max(0, gap))
    shapes = sorted((shape for shape, each in gaps.items() if len(each) > 1), key=lambda shape: -len(gaps[shape]))
    patterns = [rf"{shape}[ \t]{{0,{min(gaps[shape])}}}" for shape in shapes[:_MOST_SHAPES]]
    return _Prefixes(re.compile("|".join(patterns)) if patterns else None, known.is_numbered)


def _may_be_prefix(prefix: str, is_header: bool) -> bool:
    """Whether it is more than indentation, and no word that the line itself begins with."""
    if not 0 < len(prefix) <= _LONGEST_PREFIX or any(char in prefix for char in '"╭╰┌└─━│┃+'):
        return False
    if is_header:  # IPython puts the type of the error there, and people what they want to say
        is_word = prefix.split()[-1].isalpha() or prefix.endswith(
            ("Error", "Exception", "Interrupt", "Exit", "Warning")
        )
        return any(char.isalnum() for char in prefix) and not is_word
    return any(char.isalnum() for char in prefix) or len(prefix) <= _LONGEST_MARK


def _shape(prefix: str) -> str:
    """A pattern of what differs from the prefix in numbers, widths and names of months only."""
    parts = []
    for word in _WORDS.findall(prefix):
        if word.isdecimal():
            parts.append(r"\d{1,20}")
        elif word.isspace():
            parts.append(r"[ \t]{1,40}")
        else:
            parts.append(re.escape(word))
    if parts and parts[0] == r"[ \t]{1,40}":
        parts = parts[1:]
    return "".join(parts)


def _is_numbered(raw: list[_Raw]) -> bool:
    """Whether numbers before a colon go up by one from line to line."""
    numbers = [int(found["number"]) for one in raw[:5000] if (found := _COUNTED.match(one.text))]
    steps = [later - earlier for earlier, later in pairwise(numbers)]
    return len(steps) > 1 and steps.count(1) >= 0.8 * len(steps)


def _unlabelled(text: str, prefixes: _Prefixes) -> tuple[str, list[str]]:
    """A line without what stands in front of it, and the labels of the process that were there."""
    labels: list[str] = []
    for _ in range(_MOST_PREFIXES):
        # A space is looked past only to find what is known: the indentation of what remains has a meaning.
        indent = len(text) - len(text.lstrip(" \t"))
        found = _NOISE.match(text, indent)
        if not found and (found := _LABEL.match(text, indent)):
            is_count = prefixes.is_numbered and bool(found["local"] or found["slurm"])
            labels += [] if is_count else [str(name) for name in found.groupdict().values() if name]
        if not found and prefixes.learned and (found := prefixes.learned.match(text, indent)):
            labels += _PROCESS.findall(found[0])
        if not found or found.end() == indent:
            break
        text = text[found.end() :]
    return text, labels


def _line(raw: _Raw, prefixes: _Prefixes) -> Line:
    text, labels = _unlabelled(raw.text, prefixes)
    taken_off = raw.text[: len(raw.text) - len(text)]
    in_box = "│" in raw.text or "┃" in raw.text
    is_full = False
    if in_box or ("|" in taken_off and text.endswith("|")):
        inner = text.rstrip().removesuffix("│").removesuffix("┃").removesuffix("|")
        is_full = inner != text.rstrip() and inner.endswith(" ") and not inner.endswith("  ")
        text, in_box = inner, True
    is_edge = bool(_BOX_EDGE.match(text) or _GROUP_EDGE.match(text) or _FENCE.match(text))
    label = " ".join([*([raw.label] if raw.label else []), *labels])
    return Line(raw.number, label, text.rstrip(), is_edge, in_box, is_full)


# Wraps


def _unwrapped(lines: list[Line], lengths: list[int]) -> list[Line]:
    """Lines that were wrapped joined, in a text in which frames were: no frame fits two lines by itself.

    Args:
        lines: Freed of what was put around them.
        lengths: How long each was before.
    """
    broken = [length for line, length in zip(lines, lengths, strict=True) if _is_broken(line)]
    if not broken:
        return lines
    width = max(broken)
    joined: list[Line] = []
    at = 0
    while at < len(lines):
        line = lines[at]
        whole, pieces = _whole_frame(lines, at) if _is_broken(line) else (line, 1)
        glue = _glue(joined[-1], lengths[at - 1], line, width) if pieces == 1 and joined else None
        if glue is None:
            joined.append(whole)
        else:
            joined[-1] = joined[-1]._replace(text=f"{joined[-1].text}{glue}{line.text.lstrip()}"[:LONGEST])
        at += pieces
    return joined


def _is_broken(line: Line) -> bool:
    return not line.in_box and bool(_FRAME_BEGINS.match(line.text)) and not _FRAME_WHOLE.match(line.text)


def _whole_frame(lines: list[Line], at: int) -> tuple[Line, int]:
    """The frame that begins in a line, and over how many lines it goes."""
    text = lines[at].text
    for pieces, line in enumerate(lines[at + 1 : at + _MOST_PIECES], 2):
        if not _may_go_on(lines[at], line):
            break
        piece = line.text.strip()
        text = next(
            (each for each in (f"{text}{piece}", f"{text} {piece}") if _FRAME_WHOLE.match(each)), f"{text}{piece}"
        )
        if _FRAME_WHOLE.match(text):
            return lines[at]._replace(text=text), pieces
    return lines[at], 1


def _may_go_on(before: Line, line: Line) -> bool:
    """Whether a line may be more of one before it; a label that stood before the wrap is not repeated."""
    return line.label in ("", before.label) and not line.is_edge and not before.is_edge and not _BEGINS.match(line.text)


def _glue(before: Line, length: int, line: Line, width: int) -> str | None:
    """What to join a line to the one before with, or nothing where it is a line of its own."""
    indent = len(line.text) - len(line.text.lstrip())
    if not before.text.strip() or not _may_go_on(before, line) or indent > 1:
        return None
    if length == width:
        return ""
    first = line.text.split(maxsplit=1)[0]
    return " " if length < width and length + 1 + len(first) > width else None
