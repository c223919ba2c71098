"""Projects whose build asks git which version they are: their copies become small repositories with one tag."""

from __future__ import annotations

import re
from pathlib import Path

from packaging.version import InvalidVersion, Version

from ckptdoctor.environment import git, project

_TOOLS = re.compile(
    r"setuptools[-_]scm|hatch[-_]vcs|versioningit|versioneer|dynamic[-_]versioning|git[-_]versioning|dunamai|\bpbr\b"
)
"""What asks git, as a project's files name it. Some of these also take the list of files to install from git."""

_OWN = {
    "core.hooksPath": "/dev/null",
    "init.templateDir": "",
    "commit.gpgSign": "false",
    "tag.gpgSign": "false",
    "user.name": "ckptdoctor",
    "user.email": "ckptdoctor@localhost",
    "core.autocrlf": "false",
}


def described(repository: Path, commit: str = "HEAD") -> str:
    """The version that the tags of a repository say a commit is, as setuptools_scm does: the next one, in development."""
    done = git.run(["-C", str(repository), "describe", "--tags", "--long", "--match", "*[0-9]*", commit])
    found = re.fullmatch(r"(.*)-(\d+)-g[0-9a-f]+", done.stdout.decode(errors="replace").strip())
    numbers = re.search(r"\d+(?:\.\d+)*\S*$", found[1]) if found else None
    try:
        version = Version(numbers[0]) if numbers else Version("0")
    except InvalidVersion:
        version = Version("0")
    distance = int(found[2]) if found else 0
    if not distance:
        return str(version)
    *leading, last = version.release
    # A pre-release is followed by the release itself.
    last += 0 if version.is_prerelease else 1
    return f"{'.'.join(map(str, (*leading, last)))}.dev{distance}"


def tag(copy: Path, version: str) -> None:
    """Make a repository of a copy, in which everything is of that version, if its build would ask one; else do nothing."""
    read = project.in_folder(copy)
    if read("PKG-INFO") or not any(_TOOLS.search(read(name)) for name in project.FILES):
        return
    settings = [argument for name, value in _OWN.items() for argument in ("-c", f"{name}={value}")]
    for arguments in (
        ["init", "--quiet"],
        ["add", "--all", "--force"],
        ["commit", "--quiet", "--message", version],
        ["tag", f"v{version}"],
    ):
        git.run(["-C", str(copy), *settings, *arguments])
