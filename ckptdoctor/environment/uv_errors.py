"""What uv's error output comes down to: one sentence and the next step."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

from ckptdoctor.errors import TargetError, UnobtainableError

_LONGEST = 220
"""Characters of a sentence taken out of uv's output."""
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|.)")
_BUILD = re.compile(r"[Ff]ailed to (?:download and )?build|[Bb]uild backend (?:returned|failed)|metadata_for_build")
_FETCH = re.compile(r"Failed to fetch: `?([^\s`]+)")
NETWORK = "Check the network, proxy and certificates; pip's settings for them are used: `pip config list`."
_SEE_INDEXES = "Check its spelling and the indexes that pip is set up for: `pip config list`."


def clean(text: str) -> str:
    """The text without terminal escapes, control characters and passwords in URLs; line ends stay."""
    text = _ESCAPE.sub("", text)
    text = "".join(" " if unicodedata.category(char) in {"Cc", "Cf"} and char != "\n" else char for char in text)
    return re.sub(r"(?<=://)[^/\s@]+@", "", text)


def is_build_failure(stderr: str) -> bool:
    """Whether uv gave up because a package could not be built from its source."""
    return bool(_BUILD.search(stderr))


def unreachable_url(stderr: str) -> str:
    """The URL that uv could not fetch, as uv wrote it, or an empty string."""
    found = _FETCH.search(_ESCAPE.sub("", stderr))
    return found.group(1) if found else ""


def host(url: str) -> str:
    """The host of a URL, without a password."""
    return re.sub(r"^\w+://([^/]*).*", r"\1", clean(url)) or clean(url)


def wanted_python(stderr: str) -> str:
    """The Python that a release is made for, where uv gave up because the target's is an older one; or an empty string."""
    found = re.search(
        r"current Python version \([\d.]+\) does not satisfy Python>=(\d+\.\d+)", " ".join(clean(stderr).split())
    )
    return found.group(1) if found else ""


def distil(stderr: str, pins: Mapping[str, str]) -> TargetError:
    """The error to raise for a failed run of uv: ``UnobtainableError`` where trying again would not help.

    Args:
        stderr: All that uv wrote to its standard error.
        pins: Packages that were held at the target's version, with that version.
    """
    # Where a package is from is known to who named it, and a path may end up in what others read.
    said = re.sub(r" @ (?:git\+)?\w+://[^\s`]+", "", clean(stderr))
    text = " ".join(_last_error(said).split())
    return _no_room(said) or _unsolvable(text, pins) or _unbuilt(said, text) or _unfetched(text) or _anything(text)


def _last_error(said: str) -> str:
    """From uv's ``error:`` (older releases: a cross) on, without its hints and box drawing."""
    start = re.search(r"^\s*(?:error:|\u00d7)", said, re.MULTILINE)
    said = said[start.end() :] if start else said
    said = re.split(r"^\s*(?:[│╰─▶]\s*)*hint:", said, maxsplit=1, flags=re.MULTILINE)[0]
    return re.sub(r"[│╰─▶├\u00d7]", " ", said)


def _no_room(said: str) -> TargetError | None:
    if not re.search(r"No space left on device|Disk quota exceeded", said):
        return None
    return TargetError(
        "The disk is full.", "Make room, or choose another folder for caches: CKPTDOCTOR_CACHE, UV_CACHE_DIR."
    )


def _unsolvable(text: str, pins: Mapping[str, str]) -> TargetError | None:
    clauses = re.findall(r"[Bb]ecause (.*?), we can conclude", text)
    if not clauses:
        return None
    because = "; ".join(clauses)
    if found := re.search(r"(\S+) was not found in", because):
        return UnobtainableError(f"No package index in use has {found.group(1)}.", _SEE_INDEXES)
    if conflict := _against_pin(because, pins):
        return conflict
    if found := re.search(r"there (?:is|are) no versions? of (\S+)", because):
        name = re.split(r"[<>=!~]", found.group(1))[0]
        return UnobtainableError(
            f"No release {found.group(1)} can be had.", f"See which there are: `pip index versions {name}`."
        )
    hint = "Ask for releases that fit together, or leave one of the requirements out."
    return UnobtainableError(f"The requirements cannot be met: {_clip(because)}.", hint)


def _against_pin(because: str, pins: Mapping[str, str]) -> TargetError | None:
    for name, version in pins.items():
        found = re.search(rf"(\S+) depends? on ({re.escape(name)}(?![\w.-])\S*)", because)
        if found and f"{name}=={version}" in because:
            message = f"{found.group(1)} needs {found.group(2)}, but the target's {name} {version} is never replaced."
            hint = f"Choose a release made for it, or ask for another by name: --with '{name}==...' (a large download)."
            return UnobtainableError(message, hint)
    return None


def _unbuilt(said: str, text: str) -> TargetError | None:
    if not is_build_failure(said):
        return None
    found = re.search(r"[Ff]ailed to (?:download and )?build:? `?([^\s`]+)", text)
    causes = re.findall(r"^\s*((?:\w+\.)*\w*(?:Error|Exception)\b:? .*)$", said, re.MULTILINE)
    why = f" Its build ended with: {_clip(causes[-1].strip())}." if causes else ""
    message = f"{found.group(1) if found else 'A package'} could not be built from its source."
    return UnobtainableError(message, f"Choose a release that has a wheel for this Python.{why}")


def _unfetched(text: str) -> TargetError | None:
    if "Git operation failed" in text:
        return TargetError(
            "The Git repository of a requirement cannot be fetched.", "Check its URL and your access to it."
        )
    found = _FETCH.search(text)
    if not found:
        return None
    where = host(found.group(1))
    if answered := re.search(r"\((\d{3} [A-Z][\w -]*)\)", text):
        return TargetError(
            f"{where} answered {answered.group(1)}.", "Check your access to that index: `pip config list`."
        )
    return TargetError(f"{where} cannot be reached.", NETWORK)


def _anything(text: str) -> TargetError:
    sentence = _clip(re.split(r" cause: |(?<=[a-z])\. ", text)[0].strip(" .")) or "it gave no reason"
    return TargetError(f"The overlay could not be made: {sentence}.", "Try the same requirements with pip to see more.")


def _clip(text: str) -> str:
    text = text.rstrip(". ")
    return text if len(text) <= _LONGEST else text[:_LONGEST].rsplit(" ", 1)[0] + " …"
