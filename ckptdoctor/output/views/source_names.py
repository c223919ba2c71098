"""A map or a bisection in which code that is from no index is called as people call it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, cast

import msgspec

from ckptdoctor.model.compatibility import Bisection, Map
from ckptdoctor.model.sources import Source, titles
from ckptdoctor.words.strings import mapped

T = TypeVar("T", Map, Bisection)

DIGITS = 10
"""Of a commit, as people read it."""


def named(found: T) -> T:
    """A copy with ``5.24.0.dev0 (./transformers)`` for ``5.24.0.dev0+src0123456789abcdef``, wherever that stands."""
    return cast("T", msgspec.structs.replace(renamed(found, found.sources), sources=found.sources))


def renamed(value: Any, sources: Mapping[str, Mapping[str, Source]]) -> Any:
    """A copy of a structure in which code that is from no index is called as people call it."""
    names = titles(sources)
    if not names:
        return value
    pattern = re.compile("|".join(map(re.escape, names)))
    return mapped(value, lambda text: pattern.sub(lambda match: names[match[0]], text))


def by_name(found: Map | Bisection, package: str) -> dict[str, Source]:
    """Where the code of a package's releases is from, by what ``named`` calls them."""
    names = titles(found.sources)
    return {names[release]: source for release, source in found.sources.get(package, {}).items()}


def notes(found: Map | Bisection) -> Iterator[str]:
    """Which commit each folder is at."""
    for releases in found.sources.values():
        for source in releases.values():
            if source.commit and "@" not in source.text:
                edited = ", with changes that are not committed" if source.edited else ""
                yield f"{source.text} is at commit {source.commit[:DIGITS]}{edited}."
