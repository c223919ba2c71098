"""Code that is not on an index, as a release: a folder, a wheel, a commit. Such a release ends with a mark of its content."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

import msgspec

MARK = re.compile(r"(?:src|git)[0-9a-f]{16}")
"""``src`` and a digest of the content, or ``git`` and the first digits of a commit."""

UNKNOWN = "0"
"""The version of a commit whose build would have to say which it is."""

_MARKED = re.compile(rf"[+.]({MARK.pattern})$")


class Source(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where the code of a release is from."""

    text: str
    """For people: ``./transformers``, ``transformers@main``; no folder above the current one or the home is named."""
    commit: str = ""
    """The full name of the commit, where git knows one."""
    subject: str = ""
    """The first line of its message."""
    edited: bool = False
    """A folder whose files are not those of the commit."""


def mark(release: str) -> str:
    """The mark of a source's release; empty for a release of an index."""
    found = _MARKED.search(release)
    return found[1] if found else ""


def own_version(release: str) -> str:
    """A release without the mark: the version that the package says of itself."""
    return _MARKED.sub("", release)


def marked(version: str, content: str) -> str:
    """The release of a source: ``5.24.0.dev0+src0123456789abcdef``."""
    return f"{version}{'.' if '+' in version else '+'}{content}"


def readable(text: str, sources: Mapping[str, Mapping[str, Source]]) -> str:
    """A text with the titles of releases in their place."""
    names = titles(sources)
    pattern = "|".join(map(re.escape, names))
    return re.sub(pattern, lambda match: names[match[0]], text) if names else text


def titles(sources: Mapping[str, Mapping[str, Source]]) -> dict[str, str]:
    """What people read instead of each release: ``5.24.0.dev0 (./transformers)``; different for different code."""
    found = {
        release: f"{own_version(release)} ({source.text})" if own_version(release) != UNKNOWN else source.text
        for releases in sources.values()
        for release, source in releases.items()
    }
    often = Counter(found.values())
    return {
        release: title if often[title] == 1 else f"{title.removesuffix(')')}, {mark(release)[3:9]})"
        for release, title in found.items()
    }
