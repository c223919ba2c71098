"""What helps where a step could not be judged for want of a module: a package of the stack, or a folder of the user's."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from ckptdoctor import catalog
from ckptdoctor.model.report import Finding, Remedy
from ckptdoctor.remedies import proof, versions
from ckptdoctor.remedies.proof import Ground, Trial
from ckptdoctor.remedies.versions import Candidate
from ckptdoctor.rules import NOT_DIAGNOSED, Case
from ckptdoctor.words.wording import listed

PARENTS = 3
"""Folders above the user's file that are looked in."""

_MISSING = re.compile(r"(?:[Nn]o module named|no module) '([\w.]+)'")


def find(finding: Finding, cases: list[Case], ground: Ground) -> list[Remedy]:
    """What makes the missing module importable, where one is missing for all the probes of a finding."""
    names = {_missing(case) for case in cases}
    name = names.pop() if len(names) == 1 else ""
    if not name:
        return []
    finding.searched = [f"what has the module {name}"]
    package = name.partition(".")[0]
    # These are installed under the name of their module. Of others the name is not known, and none is guessed at.
    if package in catalog.packages().stack:
        return _install(package, finding, ground)
    return [_on_path(name, folder) for folder in _folders(package, cases)][:1] or [_importable(name)]


def _missing(case: Case) -> str:
    said = _MISSING.search(case.happened)
    return said.group(1) if said else ""


def _install(package: str, finding: Finding, ground: Ground) -> list[Remedy]:
    """The release of a package that goes with what is installed, once it was added in an overlay and let the step be judged."""
    ground.progress(f"trying {package}")
    try:
        trial = proof.with_releases(Candidate({package: ""}), finding, ground)
    except proof.LacksModel:
        return []
    except proof.Untried as why:
        finding.unsearched = f"{package} could not be tried: {why}"
        return []
    if trial is None or trial.lost or any(NOT_DIAGNOSED in rules for rules in trial.now.values()):
        return []
    changes = dict(trial.changes or {})
    made = versions.bare(Candidate(changes), ground.environment)
    made.title = f"install {package}"
    made.cost = f"new: {listed([f'{name} {release}' for name, release in changes.items()], 6)}; all others stay"
    made.breaks = list(trial.breaks)
    made.commands = versions.commands([f"{name}=={one}" for name, one in changes.items()], ground.environment)
    made.evidence = f"tried here in an overlay: {_came(trial)}"
    made.verified, made.tried = True, trial.tried
    return [made]


def _came(trial: Trial) -> str:
    rules = sorted({rule for found in trial.now.values() for rule in found})
    count = len(trial.fixed) + len(trial.failing)
    judged = f"{count} probe{'' if count == 1 else 's'} can be judged then"
    return f"{judged}, and end in {listed(rules)}" if rules else f"{judged}, and are ok"


def _folders(package: str, cases: list[Case]) -> Iterator[Path]:
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
        cost="every start of the job needs it",
        evidence=f"{folder} has the module; not run with it",
        commands=[f"export PYTHONPATH={shlex.quote(str(folder))}${{PYTHONPATH:+:$PYTHONPATH}}"],
    )


def _importable(name: str) -> Remedy:
    return Remedy(
        kind="setting",
        title=f"make {name} importable: install the package that has it, or put its folder on PYTHONPATH",
        cost="none",
        evidence="the error names the module; not run with it",
    )
