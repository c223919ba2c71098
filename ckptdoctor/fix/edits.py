"""Turns a change of releases into lines that pin them: constraints, or a diff of the file that lists packages.

This module writes no file and runs nothing. It refuses what it cannot pin with certainty: an edit that the installer
ignores would look like a remedy that does not help.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from packaging.utils import InvalidName, canonicalize_name
from packaging.version import InvalidVersion, Version

from ckptdoctor.errors import UsageFault
from ckptdoctor.fix import pyproject, requirements_file
from ckptdoctor.fix.pins import Changes, pins
from ckptdoctor.remedies.patch import diff

_LOCKS = {"uv.lock", "poetry.lock", "pdm.lock", "pixi.lock", "pipfile.lock", "conda-lock.yml"}
_OTHERS = {"setup.py", "setup.cfg", "pipfile"}


def constraints(changes: Changes, kept: Changes, why: str) -> str:
    """Write a constraints file, as pip and uv take it with ``-c``.

    Args:
        changes: The releases to change to.
        kept: Releases that must not change, since the remedy was tried with them.
        why: What the change is for; untrusted text, written as a comment.

    Returns:
        The file's text.

    Raises:
        UsageFault: A name or a release is not valid.
    """
    changes = _checked(changes)
    kept = {name: release for name, release in _checked(kept).items() if name not in changes}
    lines = [*_comment(why), *pins(changes)]
    if kept:
        lines += [*_comment("These have to stay for the remedy to hold:"), *pins(kept)]
    return "".join(f"{line}\n" for line in lines)


def edit(path: Path, changes: Changes) -> str:
    """Pin other releases in a requirements file or a pyproject.toml.

    Args:
        path: The file; one named ``*.toml`` is read as a pyproject.toml.
        changes: The releases to pin.

    Returns:
        A unified diff for ``patch -p1`` in the file's folder; empty if the file pins these releases already.

    Raises:
        UsageFault: The file cannot be read, or the releases cannot be pinned in it.
    """
    changes = _checked(changes)
    text = _read(path)
    edited = (pyproject.edit_text if path.suffix.lower() == ".toml" else requirements_file.edit_text)(
        text, changes, path
    )
    # patch(1) reads a file name with spaces only up to a tab.
    return diff(text, edited, f"{path.name}\t" if " " in path.name else path.name)


def _checked(changes: Changes) -> dict[str, str]:
    """Names and releases that are valid, so that none can contain another line."""
    checked = {}
    for name, release in sorted(changes.items()):
        try:
            Version(release)
            checked[str(canonicalize_name(name, validate=True))] = release.strip()
        except (InvalidName, InvalidVersion):
            message = f"{name!r} and {release!r} are not a package and a release of it."
            raise UsageFault(message, "Write them as for pip: transformers==4.52.4.") from None
    return checked


def _comment(text: str) -> list[str]:
    tame = "".join(letter if letter.isprintable() else " " for letter in text)
    return [f"# {line}" for line in textwrap.wrap(tame, 100, break_long_words=False, break_on_hyphens=False)]


def _read(path: Path) -> str:
    _refuse_by_name(path)
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise UsageFault(f"{path} is not there.", "Check its spelling.") from None
    except IsADirectoryError:
        raise UsageFault(f"{path} is a folder.", "Give the requirements file or the pyproject.toml in it.") from None
    except UnicodeDecodeError:
        raise UsageFault(f"{path} is not UTF-8 text.", "Give a requirements file or a pyproject.toml.") from None
    except (OSError, ValueError) as fault:  # ValueError: a path with a null character in it
        reason = getattr(fault, "strerror", None) or fault
        raise UsageFault(f"{path} cannot be read: {reason}.", "Check its permissions.") from fault


def _refuse_by_name(path: Path) -> None:
    name = path.name.lower()
    if name in _LOCKS or re.fullmatch(r"pylock(\..+)?\.toml", name):
        raise UsageFault(f"{path} is a lock file.", "Run the tool that writes it, with the constraints.")
    if name in _OTHERS:
        raise UsageFault(f"{path} cannot be edited safely.", "Use the constraints with the tool that reads it.")
    if name.endswith((".yml", ".yaml")):
        message = f"{path} is no requirements file; it looks like a conda environment."
        raise UsageFault(message, "Use the constraints.")
    if not path.name.isprintable():
        raise UsageFault(f"{path.name!r} cannot stand in a diff.", "Rename the file.")
