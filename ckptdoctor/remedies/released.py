"""Whether an installed package equals its release: measurements of a release do not apply to an edited copy."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from ckptdoctor.environment import records
from ckptdoctor.model.evidence import Environment, Package

_INSTALLED = ("site-packages", "dist-packages")


def edited(environment: Environment, names: Iterable[str], loaded: Iterable[str]) -> dict[str, str]:
    """Packages that differ from their release, each with the reason as a clause.

    A package without an installer's record of its files counts as unchanged.

    Args:
        environment: The target, with what was added to it.
        names: The packages that matter.
        loaded: Files that the probes loaded. Only these are compared with the installer's record.
    """
    files = sorted(set(loaded))
    found = {}
    for package in environment.packages:
        if package.name in names and package.location and (why := _why(package, files, environment.paths)):
            found[package.name] = why
    return found


def _why(package: Package, loaded: list[str], paths: Sequence[str]) -> str:
    distribution = next(iter(importlib.metadata.distributions(name=package.name, path=[package.location])), None)
    if distribution is None:
        return ""
    if distribution.read_text("direct_url.json"):
        return "it was installed from a folder, a file or a repository"
    if Path(package.location).name not in _INSTALLED and distribution.read_text("PKG-INFO"):
        return f"it is used from the folder {package.location}"
    folder = f"{package.location}{os.sep}{package.name}{os.sep}"
    shadow = next((file for file in loaded if _is_elsewhere(file, package, paths)), "")
    if shadow:
        return f"its code is loaded from {shadow}"
    recorded = records.of(distribution)
    changed = next(
        (file for file in loaded if file.startswith(folder) and _differs(file, package.location, recorded)), ""
    )
    return f"{os.path.relpath(changed, package.location)} was changed" if changed else ""


def _is_elsewhere(file: str, package: Package, paths: Sequence[str]) -> bool:
    """Whether a file belongs to a package of that name in another folder of ``sys.path``."""
    elsewhere = tuple(f"{path}{os.sep}{package.name}{os.sep}" for path in paths if path != package.location)
    return file.startswith(elsewhere) and not file.startswith(f"{package.location}{os.sep}")


def _differs(file: str, folder: str, recorded: dict[str, str]) -> bool:
    expected = recorded.get(os.path.relpath(file, folder))
    found = records.digest(Path(file)) if expected else ""
    return bool(found) and found != expected
