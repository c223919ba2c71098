"""Finds the errors in a log: Python's tracebacks, rich's boxes, IPython's, and errors that stand alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ckptdoctor.explain.lines import Line
from ckptdoctor.explain.stream import Stream
from ckptdoctor.explain.wordings import Wordings
from ckptdoctor.rules.common.log import LogError

_GIST = 40
"""Characters that identify a repeated message; the rest may be cut or wrapped."""


def find(lines: Iterable[Line]) -> list[LogError]:
    """All errors, in the order of the text; the same error of several processes is one."""
    wordings = Wordings()
    streams: dict[str, Stream] = {}
    for line in lines:
        streams.setdefault(line.label, Stream(line.label, wordings)).take(line)
    for stream in streams.values():
        stream.end()
    found = sorted((one for stream in streams.values() for one in stream.found), key=lambda one: one.line)
    return _without_mentions(_merged(found))


def _merged(found: list[LogError]) -> list[LogError]:
    by_kind: dict[object, LogError] = {}
    for one in found:
        key = (one.type, one.message[:200], tuple((frame.place.file, frame.place.line) for frame in one.frames))
        first = by_kind.setdefault(key, one)
        if first is not one:
            by_kind[key] = replace(first, labels=list(dict.fromkeys([*first.labels, *one.labels])))
    return list(by_kind.values())


def _without_mentions(found: list[LogError]) -> list[LogError]:
    """Leaves out errors without frames that the text also shows with frames: a summary or a title repeats them."""
    shown = {_gist(one) for one in found if one.frames}
    typed = {one.name for one in found if not one.is_mention}
    kept = []
    for one in found:
        if one.is_mention and one.name in typed:
            continue
        if one.frames or _gist(one) not in shown:
            kept.append(one)
            shown.add(_gist(one))
    return kept


def _gist(error: LogError) -> tuple[str, str]:
    return error.name, " ".join(error.message[:400].split())[:_GIST]
