"""Strips from the lines of a log what launchers, terminals and web pages put around them."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import NamedTuple

LONGEST = 4000
"""Characters of a line that are looked at; no frame and no error line is as long."""

MOST = 200_000
"""Lines that are looked at."""

OURS_LEFT_OUT = "left out ...]"
"""How a line ends that stands for what was not looked at."""

HEADER = "Traceback (most recent call last)"

_ANSI = re.compile(r"\x1b(?:\[[0-?]{0,64}[ -/]{0,8}[@-~]|\][^\x07\x1b\n]{0,2000}(?:\x07|\x1b\\)|[@-Z\\^_])")
_ENTITIES = re.compile(r"&(?:quot|lt|gt|#39|#x27|#34|#x22);")
_MOST_PREFIXES = 6

_TIME = r"\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?"
_NOISE = re.compile(
    rf"""(?:
        \[{_TIME}\] | {_TIME} | \[?\d\d:\d\d:\d\d(?:[.,]\d{{1,9}})?\]?  # when
      | \[(?:DEBUG|INFO|WARNING|WARN|ERROR|CRITICAL)\s?(?:\|[^\]\n]{{1,200}})?\]  # how bad
      | (?:DEBUG|INFO|WARNING|WARN|ERROR|CRITICAL)\s{{0,4}}[:|-]
      | (?:stdout|stderr)(?:\s[FP])?[:\s]  # which stream
      | [>│┃]+ | E(?=\s\s) | \|(?=\s)  # quotes, boxes, pytest, exception groups
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

_HOST = re.compile(r"(?P<host>[A-Za-z][\w.-]{0,62}\d[\w.-]{0,20}|worker-\d{1,5}|localhost):[ ]?")
"""The name of a machine, as pdsh writes it: taken for one only where tracebacks stand behind it."""

_TELLING = re.compile(rf'{re.escape(HEADER)}|File "[^"\n]{{1,1000}}", line \d')

_BOX_EDGE = re.compile(r"^[\s]*[╭╰┌└+][─━\-+ \d.]{3,}")
_GROUP_EDGE = re.compile(r"^\s*\+(?:-\+)?-{5,}")
_FENCE = re.compile(r"^\s*(?:```|~~~)")


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


def split(text: str) -> list[Line]:
    """The lines of a log, freed of colours, quotes, boxes, times and labels; of very many the first and the last."""
    raw = _bounded(list(_raw(text)))
    hosts = {host for _, line in raw if _TELLING.search(line) and (host := _host(line))}
    return [_line(number, line, hosts) for number, line in raw]


def _bounded(raw: list[tuple[int, str]]) -> list[tuple[int, str]]:
    left_out = len(raw) - MOST
    if left_out <= 0:
        return raw
    middle = raw[MOST // 2]
    return [*raw[: MOST // 2], (middle[0], f"[... {left_out} lines {OURS_LEFT_OUT}"), *raw[-MOST // 2 :]]


def _raw(text: str) -> Iterator[tuple[int, str]]:
    was_blank = False
    for number, line in enumerate(_readable(text).replace("\r\n", "\n").split("\n"), 1):
        # A traceback in one line, as loggers of JSON write it.
        whole = line.replace("\\n", "\n").replace('\\"', '"') if f"{HEADER}:\\n" in line else line
        for part in re.split(r"[\r\n]", whole):
            stripped = part[:LONGEST].rstrip()
            if stripped or not was_blank:  # a blank line says as much as many
                yield number, stripped
            was_blank = not stripped


def _readable(text: str) -> str:
    """Without colours, null bytes and halves of characters, entities of HTML resolved where there are any."""
    text = _ANSI.sub("", text.encode("utf-8", "replace").decode()).replace("\x00", "")
    for _ in range(2):  # what was escaped twice shows only after the first round
        if not _ENTITIES.search(text):
            break
        text = html.unescape(text)
    return text


def _host(line: str) -> str:
    rest, labels = _unlabelled(line, set())
    found = _HOST.match(rest)
    return found["host"] if found and not labels else ""


def _line(number: int, raw: str, hosts: set[str]) -> Line:
    text, labels = _unlabelled(raw, hosts)
    in_box = "│" in raw or "┃" in raw
    if in_box or (raw.lstrip().startswith("|") and raw.endswith("|")):
        text, in_box = text.rstrip().removesuffix("│").removesuffix("┃").removesuffix("|"), True
    is_edge = bool(_BOX_EDGE.match(text) or _GROUP_EDGE.match(text) or _FENCE.match(text))
    return Line(number, " ".join(labels), text.rstrip(), is_edge, in_box)


def _unlabelled(text: str, hosts: set[str]) -> tuple[str, list[str]]:
    """A line without what stands in front of it, and the labels of the process that were there."""
    labels: list[str] = []
    for _ in range(_MOST_PREFIXES):
        # A space is looked past only to find what is known: the indentation of what remains has a meaning.
        indent = len(text) - len(text.lstrip(" "))
        found = _NOISE.match(text, indent) or _LABEL.match(text, indent)
        if not found and (host := _HOST.match(text, indent)) and host["host"] in hosts:
            found = host
        if not found or found.end() == indent:
            break
        labels += [str(name) for name in found.groupdict().values() if name]
        text = text[found.end() :]
    return text, labels
