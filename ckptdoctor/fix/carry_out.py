"""From a report's proven remedies to what is done about them: files patched and restored, releases pinned."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from ckptdoctor import catalog
from ckptdoctor.errors import UsageFault
from ckptdoctor.fix import apply as patching
from ckptdoctor.fix.apply import Applied, Patch
from ckptdoctor.model.evidence import Environment
from ckptdoctor.model.report import Finding, Remedy, Report
from ckptdoctor.store import locations

KEPT = ("torch", "transformers", "deepspeed")
"""Packages that a change of releases was tried with: constraints hold them where they are."""


def apply(report: Report, force: bool) -> list[tuple[Path, Applied]]:
    """Patch every file for which the report has a proven patch.

    Raises:
        UsageFault: There is none, or a file is not to be touched; those before it are patched.
    """
    made = {one.file: one for one in _patches(report)}
    if not made:
        raise UsageFault(
            "There is no patch that helps here: nothing was changed.",
            "`ckptdoctor fix` lists what else was tried and helps",
        )
    return [(file, patching.apply(one, force)) for file, one in made.items()]


def applied(report: Report) -> tuple[Remedy, ...]:
    """The remedies that ``apply`` carries out, one for each file."""
    return tuple({remedy.file: remedy for _, remedy in _remedies(report, "patch")}.values())


def _patches(report: Report) -> Iterator[Patch]:
    from ckptdoctor.remedies.patch import patch

    for finding, remedy in _remedies(report, "patch"):
        file = Path(remedy.file)
        try:
            original = file.read_bytes()
        except OSError as error:
            raise UsageFault(f"{file} cannot be read: {error.strerror}.", "run `ckptdoctor fix` again") from error
        text = original.decode("utf-8", "replace")
        patched = patch(text, finding.culprit.line) if finding.culprit else None
        if hashlib.sha256(original).hexdigest() != remedy.sha256 or patched is None:
            raise UsageFault(f"{file} is not the file that was diagnosed.", "run `ckptdoctor fix` again")
        overlays = locations.cache() / "overlays"
        yield Patch(
            file=file,
            original=original,
            patched=patched.encode(),
            # A file that the user named is the user's own, in any folder.
            prefix=file.parent if _is_named(file, report) else Path(report.environment.executable).parent.parent,
            overlay=overlays if overlays in file.parents else None,
            why=f"{finding.rule}: {finding.title}",
        )


def _is_named(file: Path, report: Report) -> bool:
    """Whether the request names a checkpoint function by its file."""
    loaded = [one.evidence.loaded for one in report.probes if one.evidence.loaded is not None]
    return any(one.how == "file" and one.place.file == str(file) for one in loaded)


def notes(report: Report) -> list[str]:
    """What a reader must know of files that a verdict rests on and that ckptdoctor has patched."""
    loaded = dict.fromkeys(one.evidence.loaded.place.file for one in report.probes if one.evidence.loaded)
    return [
        f"{file} is patched by ckptdoctor since {record.date[:10]} ({record.why}); `ckptdoctor fix --revert` takes it back."
        for file in loaded
        if (record := patching.state(Path(file))) is not None
    ]


def revert(environment: Environment, functions: Sequence[str], force: bool) -> list[Path]:
    """Restore every patched file.

    Args:
        environment: The target.
        functions: Checkpoint functions of the user's own, ``file.py:function``, whose files are looked at too.
        force: Restore a file also if it was changed after it had been patched.

    Raises:
        UsageFault: There is none, or one cannot be restored.
    """
    own = [Path(name.rpartition(":")[0]).absolute() for name in functions if ".py:" in name]
    folders = [Path(root) / name for root in environment.paths for name in sorted(catalog.trainers())]
    for folder in folders:
        patching.sweep(folder)
    found = [file for folder in folders if folder.is_dir() for file in patching.applied_in(folder)]
    files = list(dict.fromkeys([*found, *(file for file in own if Path(f"{file}.ckptdoctor.json").is_file())]))
    if not files:
        raise UsageFault(
            f"Nothing that ckptdoctor patched was found in {environment.executable}'s environment.",
            "name the environment with --python, or your own file with --checkpoint-fn file.py:function",
        )
    for file in files:
        patching.revert(file, force)
    return files


def with_edits(report: Report, files: Sequence[str]) -> Report:
    """The report in which each change of releases says what it means for files of requirements, as diffs.

    Raises:
        UsageFault: A file is none, or does not let itself be changed so.
    """
    from ckptdoctor.fix import edits

    def edited(remedy: Remedy) -> Remedy:
        if remedy.kind != "version":
            return remedy
        changes = _direct(remedy, report.environment)
        diffs = tuple(diff for file in files if (diff := edits.edit(Path(file), changes)))
        return msgspec.structs.replace(remedy, edits=diffs)

    findings = tuple(
        msgspec.structs.replace(finding, remedies=tuple(map(edited, finding.remedies))) for finding in report.findings
    )
    return msgspec.structs.replace(report, findings=findings)


def constraints(report: Report) -> str:
    """The text of a constraints file with the first change of releases of every finding.

    Raises:
        UsageFault: No change of releases helps.
    """
    from ckptdoctor.fix import edits

    chosen: dict[str, Remedy] = {}
    for finding, remedy in _remedies(report, "version"):
        chosen.setdefault(finding.rule + finding.title, remedy)
    if not chosen:
        raise UsageFault(
            "No change of releases helps here: there is nothing to pin.", "`ckptdoctor fix` lists what else was tried"
        )
    changes = {name: release for one in chosen.values() for name, release in one.changes.items()}
    environment = report.environment
    kept = {
        name: environment.version(name) for name in (*KEPT, *sorted(catalog.trainers())) if environment.version(name)
    }
    why = "\n".join(f"{one.title}: {one.evidence}" for one in chosen.values())
    public = {name: release.partition("+")[0] for name, release in kept.items() if name not in changes}
    return edits.constraints(changes, public, why)


def _direct(remedy: Remedy, environment: Environment) -> dict[str, str]:
    """What a file of requirements should ask for: what changes of the stack, and what was not there; the rest follows."""
    return {
        name: release
        for name, release in remedy.changes.items()
        if name in environment.stack or not environment.version(name)
    }


def _remedies(report: Report, kind: str) -> Iterator[tuple[Finding, Remedy]]:
    for finding in report.findings:
        for remedy in finding.remedies:
            if remedy.kind == kind and (remedy.proven or kind == "version"):
                yield finding, remedy
