"""Errors in a log, raised at a line where a checkpoint function failed in the shipped measurements."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

from ckptdoctor.model.compatibility import Fault
from ckptdoctor.model.evidence import Place
from ckptdoctor.rules.common.log import CROPPED, Frame, LogError, LogVerdict
from ckptdoctor.words.wording import owner


def at_measured_line(error: LogError, rule: str, how: str, fits: Callable[[Fault], bool]) -> LogVerdict | None:
    """The verdict on an error at a line where a fault was measured; nothing for any other line.

    Args:
        error: The error.
        rule: Code of the rule of the fault.
        how: How the function failed there, as the end of a clause.
        fits: Whether the error may be that fault.
    """
    for frame in reversed(error.frames):
        if frame.is_helper or not any(fault.rule == rule and fits(fault) for fault in _faults_at(frame)):
            continue
        passed_at = error.passed_at(error.frames.index(frame))
        return LogVerdict(
            "ours",
            f"{owner(frame.place, 'The checkpoint function')} fails at a line where it also failed in a measurement, {how}: "
            f"{error.text}",
            frame.place,
            error.frames[passed_at].place if passed_at is not None else None,
        )
    return None


def _faults_at(frame: Frame) -> Iterator[Fault]:
    """The faults that were measured at the line."""
    for place, fault in _faults().get(frame.place.line, []):
        is_there = frame.path.endswith(f"/{place.file}")
        if is_there and (not frame.place.code or _is_line(frame.place.code, place.code)):
            yield fault


def _is_line(shown: str, code: str) -> bool:
    """Whether a line of code is the one that a log shows, possibly cropped."""
    cropped = shown.removesuffix(CROPPED)
    return code.startswith(cropped) if cropped != shown else code == shown


@functools.cache
def _faults() -> dict[int, list[tuple[Place, Fault]]]:
    """All faults that were measured, by the line of their culprit."""
    from ckptdoctor import knowledge  # slow to import, and only logs need it

    found: dict[int, list[tuple[Place, Fault]]] = {}
    seen = set()
    for run in knowledge.load().runs:
        for fault in run.faults:
            place = fault.culprit
            key = (fault.rule, fault.error, place.file, place.line) if place else None
            if place and key not in seen:
                seen.add(key)
                found.setdefault(place.line, []).append((place, fault))
    return found
