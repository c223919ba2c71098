"""Whose a file is: the environment's own, a project's under git, or something that others may use."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec

from ckptdoctor.errors import UsageFault
from ckptdoctor.fix.replacing import read

NOTHING_RUN = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")
"""Settings by which git starts no program that a repository names."""


def require_unchanged(file: Path) -> None:
    """Changes that no version control could bring back are not mixed with a patch."""
    status = _git(file, "status", "--porcelain", "--untracked-files=all", "--ignore-submodules=all", "--", file.name)
    if status is None or _is_outside_of_git(status):
        return
    if status.returncode:
        raise UsageFault(
            f"{file} lies in a git work tree, and git cannot tell whether it has local changes.",
            "see what git status says there, or patch it all the same with --force",
        )
    if status.stdout:
        raise UsageFault(
            f"{file} has local changes that are not committed.", "commit them, or patch it all the same with --force"
        )


def require_own(file: Path, prefix: Path) -> None:
    """Refuse a file that belongs to no environment or project of the user's."""
    if is_below(file, prefix) or _is_tracked(file) or _is_editable(file, prefix):
        return
    raise UsageFault(
        f"{file} lies outside of the environment, and others may use it.",
        "diagnose the environment that it belongs to, or patch it all the same with --force",
    )


def _place(file: Path) -> Path:
    """The real path of a file; a file that is itself a link is where the link is."""
    return file.parent.resolve() / file.name


def is_below(file: Path, folder: Path) -> bool:
    """Whether a file's real path is below a folder."""
    return _place(file).is_relative_to(folder.resolve())


def _is_tracked(file: Path) -> bool:
    """Whether it is a file of a project under git; one that git ignores, such as another environment's, is not."""
    listed = _git(file, "ls-files", "--error-unmatch", "--", file.name)
    return listed is not None and listed.returncode == 0


def _is_editable(file: Path, prefix: Path) -> bool:
    """Whether it belongs to a project that is installed into this environment from where it is worked on."""
    for note in prefix.glob("lib*/python*/*-packages/*.dist-info/direct_url.json"):
        project = _editable_project(note)
        if project and is_below(file, project):
            # An environment may lie in a project's folder, and is none of its sources.
            inner = _place(file).relative_to(project.resolve()).parts
            return not {"site-packages", "dist-packages"}.intersection(inner)
    return False


def _editable_project(note: Path) -> Path | None:
    """The folder that a ``direct_url.json`` (PEP 610) names as an editable project."""
    try:
        content = msgspec.json.decode(read(note) or b"", type=_DirectUrl)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    url = urlsplit(content.url)
    return Path(unquote(url.path)) if content.dir_info.editable and url.scheme == "file" else None


class _DirInfo(msgspec.Struct):
    editable: bool = False


class _DirectUrl(msgspec.Struct):
    url: str
    dir_info: _DirInfo = msgspec.field(default_factory=_DirInfo)


def _git(file: Path, *arguments: str) -> subprocess.CompletedProcess[str] | None:
    """What git says in a file's folder; nothing where there is no git, or no repository to ask."""
    git = shutil.which("git")
    folder = file.parent.resolve()
    if git is None or not any((place / ".git").exists() for place in (folder, *folder.parents)):
        return None
    # A file name is a name, not a pattern; and what a repository may ask to be run is not run.
    command = [git, "-C", str(folder), "--literal-pathspecs", *NOTHING_RUN, *arguments]
    try:
        return _run(command, _git_environment(git, folder))
    except (OSError, subprocess.TimeoutExpired):
        return subprocess.CompletedProcess(command, 1, "", "")


def _run(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=20,
        check=False,
    )


def _git_environment(git: str, folder: Path) -> dict[str, str]:
    """The user's git settings, no repository but the folder's own, and none of that repository's filters."""
    kept = ("GIT_EXEC_PATH", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_") or name in kept}
    environment |= {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0"}
    filters = _run([git, "-C", str(folder), "config", "-z", "--name-only", "--get-regexp", r"^filter\."], environment)
    names = [name for name in filters.stdout.split("\0") if name]
    for number, name in enumerate(names):
        environment[f"GIT_CONFIG_KEY_{number}"] = name
        environment[f"GIT_CONFIG_VALUE_{number}"] = "false" if name.endswith(".required") else ""
    return environment | {"GIT_CONFIG_COUNT": str(len(names))}


def _is_outside_of_git(ran: subprocess.CompletedProcess[str]) -> bool:
    return ran.returncode != 0 and ("not a git repository" in ran.stderr or "must be run in a work tree" in ran.stderr)
