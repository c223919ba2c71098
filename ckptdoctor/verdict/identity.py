"""The identity of a finding: the same on every machine, and the same when lines move."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, TypeVar

from ckptdoctor.model.evidence import Environment, Place
from ckptdoctor.model.report import Finding, ProbeResult
from ckptdoctor.words.escape import one_line
from ckptdoctor.words.strings import mapped
from ckptdoctor.words.wording import relative

T = TypeVar("T")

_LONGEST = 400
"""Characters of a source line."""

_SOMEBODYS_HOME = re.compile(r"(?<![\w.-])(?:/(?:home|Users)/[^/\s:'\"]+|/root(?![\w.-]))")


class Key(NamedTuple):
    """The key of a finding: two findings with the same key are one, whatever the line numbers and versions."""

    rule: str
    package: str
    file: str
    function: str
    code: str

    @classmethod
    def of(cls, finding: Finding) -> Key:
        """The key of a finding; its title is used only if there is no line of code."""
        place = finding.culprit
        if place is None:
            return cls(finding.rule, "", "", "", one_line(finding.title, _LONGEST))
        told = (place.package, portable(place.file), place.function, place.code)
        return cls(finding.rule, *(one_line(text, _LONGEST) for text in told))

    @property
    def digest(self) -> str:
        """The key in 32 hexadecimal digits."""
        return hashlib.sha256("\0".join(self).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def portable(file: str) -> str:
    """A file relative to the folder of packages or to the project, else its name alone: never a path of this machine."""
    inside = relative(file)
    if inside != file:
        return inside.replace("\\", "/")
    return in_project(file) or re.split(r"[/\\]", file)[-1]


def in_project(file: str) -> str:
    """A file relative to the current folder; empty if it is outside of the folder or belongs to a package."""
    path = Path(file)
    if relative(file) != file:
        return ""
    if not path.is_absolute():
        return "" if ".." in path.parts else path.as_posix()
    here = Path.cwd()
    return path.relative_to(here).as_posix() if here.parent != here and path.is_relative_to(here) else ""


def portable_function(name: str) -> str:
    """A checkpoint function's name; a file is named without the folders of this machine."""
    where, colon, function = name.rpartition(":")
    return f"{portable(where)}{colon}{function}" if where.endswith(".py") else name


def subjects(finding: Finding, probes: Iterable[ProbeResult]) -> list[ProbeResult]:
    """The probes on which a finding rests."""
    wanted = set(finding.probes)
    return [probe for probe in probes if probe.id in wanted]


def location(finding: Finding) -> Place | None:
    """The line to show for a finding."""
    frames = finding.error.frames if finding.error else []
    return finding.culprit or finding.passed_by or (frames[-1] if frames else None)


def without_paths(value: T, environment: Environment) -> T:
    """A copy of a structure for publishing: the folders of this machine are removed from every string."""
    replacements = _replacements(environment)
    return mapped(value, lambda text: _cleaned(text, replacements) if "/" in text else text)


def _replacements(environment: Environment) -> list[tuple[str, str]]:
    """Replacements for the folders of this machine, the innermost first."""
    known = {f"{path.rstrip('/')}/": "" for path in environment.paths if path.count("/") > 1}
    prefix = str(Path(environment.executable).parent.parent)
    for folder, name in ((str(Path.cwd()), "."), (prefix, "(environment)"), (_home(), "~")):
        if folder.count("/") > 1 or folder == _home() != "/":
            known.setdefault(folder, name)
    return sorted(known.items(), key=lambda one: -len(one[0]))


def _home() -> str:
    try:
        return str(Path.home())
    except RuntimeError:  # a user without one
        return "/"


def _cleaned(text: str, replacements: list[tuple[str, str]]) -> str:
    for folder, name in replacements:
        if folder.endswith("/"):
            text = text.replace(folder, name)
        else:  # whole folders only: `/srv/run` is no part of `/srv/running`
            text = re.sub(rf"(?<![\w.-]){re.escape(folder)}(?![\w.-])", name, text)
    return _SOMEBODYS_HOME.sub("~", text)
