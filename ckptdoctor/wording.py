"""Small pieces of text that several parts of a report share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from ckptdoctor.evidence import Place


def owner(place: Place | None, otherwise: str) -> str:
    """Package and version of a place, or its file where no package owns it."""
    if place is None:
        return otherwise
    if place.package:
        return f"{place.package} {place.version}".strip()
    return PurePath(place.file).name or otherwise


def listed(names: Sequence[str], limit: int = 4) -> str:
    """Names in a sentence, the first few of many."""
    shown = list(names[:limit])
    if len(names) > limit:
        shown.append(f"{len(names) - limit} more")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}" if shown else ""


def first_line(text: str) -> str:
    """The first line that is not empty."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")
