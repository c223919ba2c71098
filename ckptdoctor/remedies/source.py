"""A source patch to the checkpoint function, offered once probes with the patched file have passed."""

from __future__ import annotations

import os
from pathlib import Path

from ckptdoctor.evidence import Environment, Evidence, Spec
from ckptdoctor.plan import VARIANTS
from ckptdoctor.report import Finding, Remedy
from ckptdoctor.rules import Case
from ckptdoctor.rules.case import is_sound
from ckptdoctor.target.patient import BARE, WHOLE, Patient
from ckptdoctor.wording import listed, owner

TRIED = ("none", "zero3")
"""Engines under which a patch is tried: without one, and the one that touches a model the most."""


def find(finding: Finding, cases: list[Case], environment: Environment, patient: Patient) -> list[Remedy]:
    """The patch to the file in which the attribute is read, if it can be made and helps."""
    if finding.rule != "CKPT001" or finding.culprit is None:
        return []
    file = Path(finding.culprit.file)
    loaded = [case for case in cases if case.evidence.loaded and case.evidence.loaded.place.file == str(file)]
    source = _read(file)
    if not loaded or source is None:
        return []
    from ckptdoctor.remedies.patch import diff, patch

    patched = patch(source, finding.culprit.line)
    if patched is None:
        return []
    tried = _try(patched, file, loaded, patient)
    if not tried or not all(is_sound(one) or one.forward_only for one in tried):
        return []
    forward_only = (
        " (its forward pass; the backward pass needs a GPU)" if any(one.forward_only for one in tried) else ""
    )
    return [
        Remedy(
            kind="patch",
            title=f"patch {owner(finding.culprit, file.name)} to find the layer in whatever callable it is handed",
            cost="a changed file in the environment, lost at the next reinstall",
            evidence=f"the patched file passed here{forward_only}: {listed([one.id for one in tried], 3)}",
            diff=diff(source, patched, _label(file, environment)),
            verified=True,
        )
    ]


def _try(patched: str, file: Path, cases: list[Case], patient: Patient) -> list[Evidence]:
    """Run the failing probes again with the patched file in place of the installed one."""
    copy = patient.write(file.name, patched)
    chosen = [case.spec for case in cases if _is_tried(case.spec)] or [cases[0].spec]
    lanes: dict[tuple[str, ...], list[Spec]] = {BARE: [], WHOLE: []}
    for spec in chosen:
        lanes[WHOLE if spec.engine.startswith("zero") else BARE].append(spec)
    return patient.examine(lanes, {spec.function: str(copy) for spec in chosen})


def _is_tried(spec: Spec) -> bool:
    """Whether a probe is run again; what shares its entry with a trainer's first function is, without an engine."""
    return not spec.variant and spec.engine in (TRIED[:1] if spec.function in VARIANTS else TRIED)


def _read(file: Path) -> str | None:
    """The source with its line endings as they are."""
    try:
        return file.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _label(file: Path, environment: Environment) -> str:
    """The file relative to the folder of packages it is installed in, for ``patch -p1`` there."""
    roots = [root for root in environment.paths if str(file).startswith(root + os.sep)]
    return os.path.relpath(file, max(roots, key=len)) if roots else file.name
