"""One requirement: which package it names, and the specifier that pins it to one release."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from ckptdoctor.errors import UsageFault

Changes = Mapping[str, str]
"""Normalised distribution names, and the new release of each."""
_HEAD = re.compile(r"\s*(?P<name>[A-Z0-9](?:[A-Z0-9._-]*[A-Z0-9])?)(?:\s*\[[^\]]*\])?", re.ASCII | re.IGNORECASE)
_ARCHIVE = re.compile(r"\.(?:whl|zip|tar\.\w+|tgz)$", re.IGNORECASE)
_FILE = re.compile(r"(?P<name>[\w.-]+?)-v?\d[^/]*", re.ASCII)


def pins(changes: Changes) -> list[str]:
    """Requirements that allow only these releases, sorted by name."""
    return [f"{name}=={release}" for name, release in sorted(changes.items())]


class Pin(NamedTuple):
    """For a requirement of a changed package: where its specifier is in the text, and the specifier to write there."""

    name: str
    start: int
    end: int
    specifier: str


def pin_in(text: str, changes: Changes, where: str) -> Pin | None:
    """The pin for a requirement of a changed package; None if it names none of them."""
    head = _HEAD.match(text)
    rest = text[head.end() :] if head else text
    if head is None or _is_place(text, rest):
        refuse_direct(text, changes, where)
        return None
    name = str(canonicalize_name(head["name"]))
    if name not in changes:
        return None
    if rest.lstrip().startswith("@"):
        raise direct_fault(name, where)
    return _placed(text, head.end(), name, changes[name], where)


def _is_place(text: str, rest: str) -> bool:
    """Whether a requirement is a file, a folder or an address, judged by what follows its first word."""
    return bool(_ARCHIVE.search(text.strip())) if not rest.strip() else not re.match(r"[\s\[<>=!~(;@]", rest)


def _placed(text: str, head: int, name: str, release: str, where: str) -> Pin:
    try:
        Requirement(text.strip())
    except InvalidRequirement:
        message = f"{where} names {name}, but is not a requirement that can be read."
        raise UsageFault(message, f"Write it as for pip: {name}=={release}.") from None
    old = text[head:].partition(";")[0].strip()
    start = text.index(old, head) if old else head
    return Pin(name, start, start + len(old), old if admits_only(old, release) else f"=={release}")


def with_pin(text: str, pin: Pin) -> str:
    """A requirement with the pin in place of its specifier."""
    return text[: pin.start] + pin.specifier + text[pin.end :]


def admits_only(specifier: str, release: str) -> bool:
    """Whether a specifier admits this release alone; a build of it, such as 2.6.0+cu124 of 2.6.0, is that release."""
    try:
        found = list(SpecifierSet(specifier.strip("() ")))
    except InvalidSpecifier:
        return False
    if len(found) != 1 or found[0].operator != "==" or found[0].version.endswith(".*"):
        return False
    return SpecifierSet(f"=={release}").contains(found[0].version, prereleases=True)


def refuse_direct(text: str, changes: Changes, where: str) -> None:
    """Refuse an archive, a repository or a folder that is a changed package, judged by its name."""
    names = _named_by(text)
    for name in changes:
        if _squeezed(name) in names:
            raise direct_fault(name, where)


def direct_fault(name: str, where: str) -> UsageFault:
    """The error for a changed package that is an archive, a repository or a folder."""
    message = f"{where} takes {name} from a fixed place, not by its release."
    return UsageFault(message, "Replace it with a release by hand, or use the constraints instead.")


def _named_by(text: str) -> set[str]:
    egg = re.search(r"[#&]egg=([\w.-]+)", text)
    if egg:
        return {_squeezed(egg[1])}
    place = re.split("[;#]", text, maxsplit=1)[0].strip()
    place = place.rpartition("[")[0] if place.endswith("]") else place
    place = unquote(place).replace("\\", "/").rstrip("/")
    file = _FILE.fullmatch(place.rpartition("/")[2])
    if file and _ARCHIVE.search(place):
        return {_squeezed(file["name"])}
    # A repository's name may be anywhere in an address (github.com/x/NAME/archive/main.zip), a folder's name only last.
    parts = place.split("/") if "://" in place else [place.rpartition("/")[2]]
    return {_squeezed(re.sub(r"(\.git)?(@.*)?$", "", part)) for part in parts}


def _squeezed(name: str) -> str:
    # The names of repositories vary more than those of packages: LLaMA-Factory holds llamafactory.
    return re.sub(r"[-_.]", "", name).lower()
