"""A scan from its request to its result."""

from __future__ import annotations

import ast
import itertools
import os
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from packaging.version import Version

from ckptdoctor import catalog
from ckptdoctor.errors import DoctorError, TargetError, UsageFault
from ckptdoctor.model.evidence import Place
from ckptdoctor.model.report import FailOn, Severity
from ckptdoctor.model.scan import SCHEMA, Breakage, Certainty, Scan, ScanFinding
from ckptdoctor.model.version import __version__
from ckptdoctor.scan import files, releases
from ckptdoctor.scan.module import FunctionNode, Module
from ckptdoctor.scan.packages import Installed, Packages
from ckptdoctor.scan.project import Project
from ckptdoctor.scan.releases import Facts
from ckptdoctor.scan.rule import ScanHit, ScanRule
from ckptdoctor.scan.rules import rules

Progress = Callable[[str], None]


@dataclass(frozen=True)
class ScanRequest:
    """What to scan.

    Attributes:
        what: Files, folders and names of packages.
        paths: ``sys.path`` of the environment; empty where it is not known.
        transformers: The release that the environment has; empty where it is not known.
        asked: The release to judge for instead; empty for the installed one.
        options: Options that name the environment, for commands.
        installed: Scan every installed package as well.
        fail_on: The least severity that counts.
        select: Codes or prefixes of codes that count; empty for all.
        ignore: Codes or prefixes of codes that do not.
        notes: What the reader must know beside.
    """

    what: Sequence[str]
    paths: Sequence[str] = ()
    transformers: str = ""
    asked: str = ""
    options: Sequence[str] = ()
    installed: bool = False
    fail_on: FailOn = "error"
    select: Sequence[str] = ()
    ignore: Sequence[str] = ()
    notes: Sequence[str] = ()


def scan(request: ScanRequest, progress: Progress = lambda _: None) -> Scan:
    """Read the code, and judge what it relies on.

    Args:
        request: What to scan.
        progress: Told what is going on, a few words at a time.

    Raises:
        UsageFault: There is no such file, folder or package, or the release is not known.
    """
    started = time.monotonic()
    packages = Packages(request.paths)
    places, scanned, notes = _places(request, packages)
    facts, release, origin, more = _releases(request, packages)
    every = rules()
    read = files.read(places, {code: rule.telling for code, rule in every.items()}, progress)
    roots = dict.fromkeys(
        [*(files.root_of(place / "_" if place.is_dir() else place) for place in places), *packages.roots]
    )
    project = Project([module for module, _ in read.modules], list(roots))
    progress("judging")
    findings = [
        _finding(every[code], hit, module, request, facts, release, packages)
        for module, codes in read.modules
        for code in codes
        for hit in every[code].find(module, project, facts)
    ]
    if read.notebooks:
        notes.append(f"Notebooks are not scanned; {read.notebooks} were left out.")
    known = list(releases.known().facts())
    return Scan(
        schema=SCHEMA,
        version=__version__,
        scanned=tuple(scanned),
        transformers=release,
        transformers_from=origin,
        known=(known[0], known[-1]),
        files=read.read,
        parsed=len(read.modules),
        findings=tuple(sorted(_unique(findings), key=_order)),
        not_scanned=tuple(read.not_scanned),
        notes=(*request.notes, *notes, *more),
        fail_on=request.fail_on,
        seconds=round(time.monotonic() - started, 2),
    )


def _unique(findings: Sequence[ScanFinding]) -> Iterator[ScanFinding]:
    met: set[tuple[str, str, int, str]] = set()
    for one in findings:
        key = (one.rule, one.place.file, one.place.line, one.title)
        if key not in met:
            met.add(key)
            yield one


def _order(one: ScanFinding) -> tuple[int, str, int]:
    return (("error", "warning", "note").index(one.severity), one.place.file, one.place.line)


# -- what to scan -----------------------------------------------------------------------------------------------------


def _places(request: ScanRequest, packages: Packages) -> tuple[list[Path], list[str], list[str]]:
    """The places to read, what they are called, and notes on how they were understood."""
    places: list[Path] = []
    scanned: list[str] = []
    notes: list[str] = []
    for name in request.what:
        path = Path(name).expanduser()
        if path.exists():
            places.append(path.absolute())
            scanned.append(name)
            if _is_a_name(name) and packages.find(name):
                notes.append(f"{name} is a folder here and an installed package. The folder was scanned.")
        else:
            one = _package(name, packages)
            places += one.places
            scanned.append(f"{one.name} {one.version}".strip())
    if request.installed:
        every = packages.all.values()
        places += [place for one in every for place in one.places]
        scanned.append(f"all {len(every)} installed packages")
    return places, scanned, notes


def _package(name: str, packages: Packages) -> Installed:
    if not _is_a_name(name):
        raise UsageFault(
            f"There is no file or folder {name}.", "give a file, a folder or the name of an installed package"
        )
    one = packages.find(name)
    if one is None or not one.places:
        what = "has no Python files" if one else "is neither a file or folder here nor an installed package"
        raise UsageFault(f"{name} {what}.", "choose the environment with --python, or add the package with --with")
    return one


def _is_a_name(text: str) -> bool:
    return all(part.isidentifier() for part in text.replace("-", "_").split(".")) and not text.endswith(".py")


# -- for which release ------------------------------------------------------------------------------------------------


def _releases(
    request: ScanRequest, packages: Packages
) -> tuple[dict[str, Facts], str, Literal["installed", "option", ""], list[str]]:
    """The facts of every release, the release to judge for, where it comes from, and notes."""
    facts = releases.known().facts()
    if request.asked:
        if request.asked not in facts:
            raise UsageFault(
                f"The source of transformers {request.asked} was not read for this version of ckptdoctor.",
                f"give a release from {next(iter(facts))} to {list(facts)[-1]}, or install it and choose the environment",
            )
        return facts, request.asked, "option", []
    if not request.transformers:
        return facts, "", "", []
    try:
        facts[request.transformers] = releases.read(packages.module_file)
    except SyntaxError as error:
        if request.transformers not in facts:
            note = f"The source of transformers {request.transformers} cannot be parsed ({error}), so nothing is judged for it."
            return facts, "", "", [note]
    return dict(sorted(facts.items(), key=lambda one: Version(one[0]))), request.transformers, "installed", []


# -- findings ---------------------------------------------------------------------------------------------------------


def _finding(
    rule: ScanRule,
    hit: ScanHit,
    module: Module,
    request: ScanRequest,
    facts: Mapping[str, Facts],
    release: str,
    packages: Packages,
) -> ScanFinding:
    module = hit.module or module
    function = _function(hit, packages)
    return ScanFinding(
        rule=rule.code,
        name=rule.name,
        severity=_severity(hit.breaks, hit.certainty, release, list(facts)),
        certainty=hit.certainty,
        reason=hit.reason,
        place=_place(module, hit.node, packages),
        title=hit.title,
        assumes=hit.assumes,
        breaks=tuple(_breakages(hit.breaks, list(facts))),
        affected=hit.breaks.get(release, ""),
        function=function,
        command=shlex.join(["ckptdoctor", "check", "--checkpoint-fn", function, *request.options]) if function else "",
        ignored=ignored_by(rule.code, request.select, request.ignore),
    )


def _severity(breaks: Mapping[str, str], certainty: Certainty, release: str, order: Sequence[str]) -> Severity:
    """How bad it is: for the release in use; where that is not known or not affected, for newer ones."""
    if release in breaks:
        return "warning" if certainty == "possible" else "error"
    newer = order[order.index(release) :] if release in order else order[-1:]
    return "warning" if any(one in breaks for one in newer) else "note"


def _breakages(breaks: Mapping[str, str], order: Sequence[str]) -> Iterator[Breakage]:
    """Releases that follow each other and break in the same way, in one."""
    for consequence, group in itertools.groupby(order, key=lambda release: breaks.get(release, "")):
        if consequence:
            first, *rest = group
            last = rest[-1] if rest else first
            words = first if first == last else f"{first} to {last}"
            newest = f"{words}, the newest that was read" if last == order[-1] else words
            yield Breakage(consequence, newest, first, last)


def _place(module: Module, node: ast.AST, packages: Packages) -> Place:
    line = getattr(node, "lineno", 1)
    owner = packages.owner(module.path)
    return Place(
        file=str(module.path),
        line=line,
        function=module.qualified(next(iter(module.functions_around(node)), module.tree)),
        package=owner.name if owner else "",
        version=owner.version if owner else "",
        code=module.lines[line - 1].strip() if line <= len(module.lines) else "",
    )


def _function(hit: ScanHit, packages: Packages) -> str:
    """The checkpoint function as ``--checkpoint-fn`` takes it; empty where it cannot be named there."""
    if hit.function is None:
        return ""
    module, node = hit.function
    for name, record in catalog.functions().items():
        if module.name in record.modules and any(needed in module.definitions for needed in record.needs):
            return name
    if not isinstance(node, FunctionNode) or any(
        isinstance(one, (FunctionNode, ast.ClassDef)) for one in module.around(node)
    ):
        return ""
    if packages.owner(module.path) is not None:
        return f"{module.name}:{node.name}"
    return f"{os.path.relpath(module.path)}:{node.name}"


def ignored_by(code: str, select: Sequence[str], ignore: Sequence[str]) -> str:
    """The option for which a rule does not count; if both match, the longer prefix wins."""
    ignored = max((len(one) for one in ignore if code.startswith(one)), default=-1)
    selected = max((len(one) for one in select if code.startswith(one)), default=-1)
    if select and selected < 0:
        return f"--select {','.join(select)}"
    return f"--ignore {','.join(ignore)}" if ignored >= 0 and ignored >= selected else ""


__all__ = ["DoctorError", "ScanRequest", "TargetError", "scan"]
