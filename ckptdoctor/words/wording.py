"""Small pieces of text that several parts of a report share."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import PurePath

from ckptdoctor import catalog
from ckptdoctor.model.evidence import Error, Place

SIMULATED = "the backward pass was simulated on the CPU"
"""What a note says of a function that needs a GPU in backward."""


def owner(place: Place | None, otherwise: str) -> str:
    """Package and version of a place, or its file if no package owns the file."""
    if place is None:
        return otherwise
    if place.package:
        return f"{place.package} {place.version}".strip()
    return PurePath(place.file).name or otherwise


def located(place: Place) -> str:
    """A line of code and its owner: ``llamafactory 0.9.2, llamafactory/model/checkpointing.py:86``."""
    known_as = f"{place.package} {place.version}".strip()
    where = f"{relative(place.file)}:{place.line}"
    return f"{known_as}, {where}" if known_as else where


def briefly(callable_text: str) -> str:
    """A callable in words, without the names of its keyword arguments where there are several."""
    return re.sub(r"\w+=\.\.\.(?:, \w+=\.\.\.)+", "...", callable_text)


def listed(names: Sequence[str], limit: int = 4) -> str:
    """Names as part of a sentence; only the first few if there are many."""
    shown = list(names[:limit])
    if len(names) > limit:
        shown.append(f"{len(names) - limit} more")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}" if shown else ""


def counted(count: int, noun: str) -> str:
    """A number of things: ``1 probe``, ``2 probes``."""
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count} {noun if count == 1 else plural}"


def stood_in(functions: Iterable[str]) -> str:
    """A remark on functions whose backward was simulated on the CPU; empty if there are none."""
    names = sorted(set(functions))
    return f" ({listed(names)}: backward simulated on CPU)" if names else ""


def error_line(error: Error) -> str:
    """An error's type and the first line of its message."""
    return f"{error.type}: {first_line(error.message)}"


def first_line(text: str) -> str:
    """The first line that is not empty."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def engines_in_words(names: Iterable[str]) -> str:
    """Engines in a sentence: ``no engine, a DeepSpeed-style partial and real ZeRO 0, 1, 2 and 3``."""
    found = set(names)
    shorts: dict[str, list[str]] = {}
    for engine in catalog.engines().values():
        if engine.name in found:
            shorts.setdefault(engine.record.words, []).append(engine.short)
    return listed([words.format(listed(each)) for words, each in shorts.items()], limit=len(shorts))


def function_name(function: str) -> str:
    """A checkpoint function's name, a file's without the folders."""
    return function.rpartition("/")[2]


def relative(path: str) -> str:
    """A path relative to its folder of packages or its overlay; any other path unchanged."""
    return re.sub(r"^.*[/\\](?:(?:site|dist)-packages|overlays[/\\][0-9a-f]{32})[/\\]", "", path, flags=re.DOTALL)


def gist(text: str, versions: Mapping[str, str]) -> str:
    """A text without the versions of a stack, so that it reads the same for each release that it holds for."""
    for package, version in versions.items():
        if version:
            text = _named_release(package, version).sub(r"\1", text)
    return text


@lru_cache(maxsize=4096)
def _named_release(package: str, version: str) -> re.Pattern[str]:
    return re.compile(rf"({re.escape(package)})(?: |==){re.escape(version)}(?!\w|[.+]\w)", re.IGNORECASE)
