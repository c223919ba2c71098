"""Remedies for a missing module: a package of the stack, or a folder of the user's."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from ckptdoctor import catalog
from ckptdoctor.model.report import Finding, Remedy
from ckptdoctor.remedies import proof, versions
from ckptdoctor.remedies.candidates import Candidate
from ckptdoctor.remedies.commands import commands
from ckptdoctor.remedies.context import RemedyContext
from ckptdoctor.remedies.proposal import Proposal
from ckptdoctor.remedies.trial import Trial
from ckptdoctor.rules import NOT_DIAGNOSED, Case
from ckptdoctor.words.wording import listed

PARENTS = 3
"""Folders above the user's file that are searched."""

_MISSING = re.compile(r"(?:[Nn]o module named|no module) '([\w.]+)'")


def module(cases: Sequence[Case]) -> str:
    """The module that all probes of a finding lack; empty if there is none."""
    names = {_missing(case) for case in cases}
    return names.pop() if len(names) == 1 else ""


def find(name: str, finding: Finding, cases: Sequence[Case], context: RemedyContext) -> Proposal:
    """Remedies that make a missing module importable."""
    package = name.partition(".")[0]
    # These packages have the name of their module. For other modules the package name is not known and not guessed.
    if package in catalog.packages().stack:
        return _install(package, finding, context)
    folder = next(_folders(package, cases), None)
    return Proposal((_importable(name) if folder is None else _on_path(name, folder),))


def _missing(case: Case) -> str:
    said = _MISSING.search(case.happened)
    return said.group(1) if said else ""


def _install(package: str, finding: Finding, context: RemedyContext) -> Proposal:
    """The release of a package that fits the installed ones, if the step can be judged with it in an overlay."""
    try:
        trial = proof.with_releases(Candidate({package: ""}), finding, context)
    except proof.LacksModel:
        return Proposal()
    except proof.Untried as why:
        return Proposal(unsearched=f"{package} could not be tried: {why}")
    if trial is None or trial.lost or any(NOT_DIAGNOSED in rules for rules in trial.now.values()):
        return Proposal()
    changes = dict(trial.changes or {})
    made = msgspec.structs.replace(
        versions.bare(Candidate(changes), context.environment),
        title=f"install {package}",
        cost=f"new: {listed([f'{name} {release}' for name, release in changes.items()], 6)}; no other package changes",
        breaks=trial.breaks,
        commands=tuple(commands([f"{name}=={one}" for name, one in changes.items()], context.environment)),
    )
    return Proposal((trial.marks(made, f"tried here in an overlay: {_came(trial)}"),))


def _came(trial: Trial) -> str:
    rules = sorted({rule for found in trial.now.values() for rule in found})
    count = len(trial.fixed) + len(trial.failing)
    judged = f"{count} probe{'' if count == 1 else 's'} can be judged with it"
    return f"{judged}, and end in {listed(rules)}" if rules else f"{judged}, and are ok"


def _folders(package: str, cases: Sequence[Case]) -> Iterator[Path]:
    """Folders near the user's file, or where the command was started, that hold the module."""
    files = [Path(where) for case in cases if (where := case.spec.function.rpartition(":")[0]).endswith(".py")]
    near = [folder for file in files for folder in [file.parent, *file.parents][: PARENTS + 1]]
    for folder in dict.fromkeys([*near, Path.cwd(), *(one / "src" for one in (*near, Path.cwd()))]):
        if (folder / f"{package}.py").is_file() or (folder / package / "__init__.py").is_file():
            yield folder


def _on_path(name: str, folder: Path) -> Remedy:
    return Remedy(
        kind="setting",
        title=f"put the folder that has {name} on PYTHONPATH",
        cost="required at every start of the job",
        evidence=f"{folder} has the module; not tried",
        commands=(f"export PYTHONPATH={shlex.quote(str(folder))}${{PYTHONPATH:+:$PYTHONPATH}}",),
    )


def _importable(name: str) -> Remedy:
    return Remedy(
        kind="setting",
        title=f"make {name} importable: install its package, or put its folder on PYTHONPATH",
        cost="none",
        evidence="the error names the module; not tried",
    )
