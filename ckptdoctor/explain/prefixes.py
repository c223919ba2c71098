"""Removes the prefixes that launchers, loggers and web pages put in front of each line.

The prefixes need not be known: they are learned from the lines of tracebacks, where Python's own part is certain.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

from ckptdoctor.explain.lines import HEADER, Raw

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
"""Prefixes that do not name the process."""

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
"""Prefixes that name the process; mpirun and srun write a number in brackets or before a colon."""

_COUNTED = re.compile(r"^\s*\[?(?P<number>\d{1,7})\]?:(?:\s|$)")
_TELLING = re.compile(rf'{re.escape(HEADER)}|File "[^"\n]')
_WORDS = re.compile(r"\d+|[ \t]+|[A-Z][a-z]{2}(?=\s+\d)|[^\d \t]+?(?=\d|[ \t]|$)")
_PROCESS = re.compile(
    r"(?<![\w.:-])(?P<process>(?![EWIF]\d{3,4}\b)[A-Za-z][\w.-]{0,60}(?:\d|\[\d{1,9}\]))(?=[\s:|\])}>]|$)"
)


@dataclass(frozen=True)
class Prefixes:
    """The prefixes of the lines of this text."""

    learned: re.Pattern[str] | None = None
    is_numbered: bool = False
    """Numbers before a colon count lines and do not name processes."""


def learn(raw: list[Raw]) -> Prefixes:
    """Prefixes of headers and frames that at least two of them have."""
    known = Prefixes(is_numbered=_is_numbered(raw))
    gaps: dict[str, list[int]] = {}
    for _, _, line in raw:
        if not _TELLING.search(line):
            continue
        rest, _ = unlabelled(line, known)
        told = _TELLING.search(rest)
        before = rest[: told.start()] if told else ""
        prefix = before.rstrip()
        if told and _may_be_prefix(prefix, is_header=told[0] == HEADER):
            # A frame is indented by two.
            gap = len(before) - len(prefix) - (0 if told[0] == HEADER else 2)
            gaps.setdefault(_shape(prefix), []).append(max(0, gap))
    shapes = sorted((shape for shape, each in gaps.items() if len(each) > 1), key=lambda shape: -len(gaps[shape]))
    patterns = [rf"{shape}[ \t]{{0,{min(gaps[shape])}}}" for shape in shapes[:_MOST_SHAPES]]
    return Prefixes(re.compile("|".join(patterns)) if patterns else None, known.is_numbered)


def _may_be_prefix(prefix: str, is_header: bool) -> bool:
    """Whether a prefix is more than indentation, and not a word of the line itself."""
    if not 0 < len(prefix) <= _LONGEST_PREFIX or any(char in prefix for char in '"╭╰┌└─━│┃+'):
        return False
    if is_header:  # IPython puts the type of the error there, and people their comments
        is_word = prefix.split()[-1].isalpha() or prefix.endswith(
            ("Error", "Exception", "Interrupt", "Exit", "Warning")
        )
        return any(char.isalnum() for char in prefix) and not is_word
    return any(char.isalnum() for char in prefix) or len(prefix) <= _LONGEST_MARK


def _shape(prefix: str) -> str:
    """A pattern for prefixes that differ only in numbers, widths and names of months."""
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


def _is_numbered(raw: list[Raw]) -> bool:
    """Whether numbers before a colon go up by one from line to line."""
    numbers = [int(found["number"]) for one in raw[:5000] if (found := _COUNTED.match(one.text))]
    steps = [later - earlier for earlier, later in pairwise(numbers)]
    return len(steps) > 1 and steps.count(1) >= 0.8 * len(steps)


def unlabelled(text: str, prefixes: Prefixes) -> tuple[str, list[str]]:
    """A line without its prefix, and the labels of the process in the prefix."""
    labels: list[str] = []
    for _ in range(_MOST_PREFIXES):
        # A space is skipped only before a known prefix: the indentation of the rest has a meaning.
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
