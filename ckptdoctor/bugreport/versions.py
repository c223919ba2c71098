"""Which releases a text names, wherever it does: lists of packages, reports of tools, file names, prose."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from ckptdoctor.bugreport.lines import Line

_NAMES = {
    "llama factory": "llamafactory",
    "llama-factory": "llamafactory",
    "pytorch": "torch",
    **{
        name: name
        for name in (
            *("transformers", "torch", "deepspeed", "llamafactory", "axolotl", "peft", "trl", "accelerate"),
            *(
                "unsloth",
                "unsloth-zoo",
                "flash-attn",
                "bitsandbytes",
                "nemo-automodel",
                "megatron-core",
                "ms-swift",
                "python",
            ),
        )
    },
}
"""What is looked for, by how it is written; hyphens stand for underscores too."""

_SPELLED = "|".join(re.escape(name).replace(r"\-", "[-_]") for name in sorted(_NAMES, key=len, reverse=True))
_VERSION = (
    r"\d{1,5}(?:\.\d{1,6}){1,4}(?:\.?(?:post|dev|rc|a|b)\d{1,10}){0,2}(?:\+[A-Za-z0-9.]{1,40})?(?!\.?\d)(?!\.?[x*])"
)
_NAMED = re.compile(
    rf"""(?<![\w.@-])(?P<name>{_SPELLED})
    (?:\[[\w,\ -]{{0,80}}\])?
    [`*"']{{0,3}}
    (?:
        \s{{0,3}}===?\s{{0,3}}          # requirements
      | ,?\s{{1,40}}version(?:\s\([^)\n]{{0,20}}\))?\s{{0,40}}:?\s{{1,40}}  # reports of tools
      | \s{{0,40}}[:|]\s{{0,40}}        # tables
      | \s{{1,80}}                      # pip list, prose
      | =(?!=)                         # conda list --export
      | -(?=\d)                        # file names
    )
    [`*"']{{0,3}}v?(?P<version>{_VERSION})(?![A-Za-z_])""",
    re.VERBOSE | re.IGNORECASE,
)
_FILE = re.compile(
    rf"(?<![\w.@-])(?P<name>{_SPELLED})-(?P<version>{_VERSION})(?=\.dist-info|\.egg|-py|-cp|\.tar)", re.IGNORECASE
)
_NOT_INSTALLED = re.compile(
    r"requires|required|requirement|uninstall|existing installation|but you|not installed|collecting|downloading|using cached"
    r"|satisfied|需要|要求",
    re.IGNORECASE,
)
"""Lines that name a release which is wanted, or was there before."""

_PIP_SAYS = re.compile(
    rf"but you (?:have|'ll have|will have) (?P<name>{_SPELLED}) (?P<version>{_VERSION})(?![A-Za-z_])", re.IGNORECASE
)
_LONGEST = 120
_MOST = 5
"""Sightings of a release that are kept."""

_MOST_RELEASES = 50
"""Releases of a package that are kept; two are too many already to claim anything."""


class Seen(msgspec.Struct, frozen=True):
    """A release that a text names."""

    version: str
    where: list[str]
    """The lines that name it, each with its number; the first few."""


def find(lines: Iterable[Line]) -> dict[str, list[Seen]]:
    """The releases by package, in the order in which they are met."""
    found: dict[str, dict[str, list[str]]] = {}
    for line in lines:
        for name, version in _named(line.text):
            releases = found.setdefault(name, {})
            where = releases.setdefault(version, []) if len(releases) < _MOST_RELEASES else releases.get(version, [])
            if len(where) < _MOST:
                where.append(f"line {line.number}: {' '.join(line.text.split())[:_LONGEST]}")
    return {name: [Seen(version, where) for version, where in each.items()] for name, each in found.items()}


def _named(text: str) -> list[tuple[str, str]]:
    if not any(char.isdigit() for char in text):
        return []
    if _NOT_INSTALLED.search(text):
        # Of such a line only what pip says is there counts, or lies on the disk.
        matches = [*_PIP_SAYS.finditer(text), *_FILE.finditer(text if "dist-info" in text else "")]
    else:
        matches = [*_NAMED.finditer(text), *_FILE.finditer(text)]
    return list(dict.fromkeys((_package(found["name"]), found["version"]) for found in matches))


def _package(name: str) -> str:
    return _NAMES[name.lower().replace("_", "-")]


def only(seen: list[Seen]) -> str:
    """The one release that is named, or nothing where there are several; 4.51 and 4.51.3 are no contradiction."""
    names = sorted((one.version for one in seen), key=len)
    if not names:
        return ""
    last = names[-1]
    return last if all(_agree(name, last) for name in names) else ""


def _agree(short: str, long: str) -> bool:
    return long == short or long.startswith((f"{short}.", f"{short}+"))
