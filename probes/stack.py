"""Which packages are installed in the target, read without importing any of them."""

from __future__ import annotations

import contextlib
import importlib.machinery
import importlib.metadata
import importlib.util
import os
import platform
import re
import sys
from collections.abc import Iterable
from typing import Any

from . import catalog

_MODEL_TYPE = re.compile(r'\("([\w.-]+)", "\w+Config"\)')
"""A row of transformers' table of configurations: a family, and its configuration's class."""

_FIELD = re.compile(r"^(Name|Version|Requires-Dist): *(.*)$", re.MULTILINE)


def facts() -> tuple[dict[str, Any], dict[str, list[str]]]:
    """The environment as JSON, but for its trainers; see ``Environment`` on the doctor's side for the fields.

    Returns:
        The environment, in which a package has its requirements between packages of the stack; and all that each package
        requires, by its name.
    """
    packages = installed()
    requires = {package["name"]: package["requires"] for package in packages}
    packages = [{**package, "requires": list(_of_stack(package["requires"]))} for package in packages]
    names = {package["name"] for package in packages}
    environment = {
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": f"{sys.platform} {platform.machine()}",
        "packages": packages,
        "stack": [name for name in catalog.STACK if name in names],
        "families": families(),
        "paths": [os.path.abspath(entry) for entry in sys.path if entry],
    }
    return environment, requires


def installed() -> list[dict[str, Any]]:
    """Every distribution on ``sys.path``, the first of each name, sorted by name."""
    found: dict[str, dict[str, Any]] = {}
    for distribution in importlib.metadata.distributions():
        package = read(distribution)
        if package:
            found.setdefault(package["name"], package)
    return [found[name] for name in sorted(found)]


def read(distribution: importlib.metadata.Distribution) -> dict[str, Any]:
    """One distribution's name, version, folder, and its requirements.

    The header is read as text: parsing it as a message costs a hundred times as much.
    """
    header = (text_of(distribution, "METADATA") or text_of(distribution, "PKG-INFO")).split("\n\n", 1)[0]
    fields = _FIELD.findall(header)
    names = [value for field, value in fields if field == "Name"]
    versions = [value for field, value in fields if field == "Version"]
    if not names or not versions:
        return {}
    return {
        "name": normalise(names[0]),
        "version": versions[0],
        "location": str(distribution.locate_file("")),
        "requires": [value for field, value in fields if field == "Requires-Dist"],
    }


def text_of(distribution: importlib.metadata.Distribution, name: str) -> str:
    """One of a distribution's own files, in whatever encoding it was written; empty where it cannot be read."""
    try:
        return distribution.read_text(name) or ""
    except UnicodeDecodeError as error:
        return error.object.decode("latin-1")
    except OSError:
        return ""


def normalise(name: str) -> str:
    """A distribution's name in the form in which names are compared (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def _of_stack(requirements: Iterable[str]) -> Iterable[str]:
    for requirement in requirements:
        name = re.match(r"[A-Za-z0-9._-]+", requirement)
        if name and normalise(name.group()) in catalog.STACK:
            yield requirement


def families() -> list[str]:
    """Model families that the installed transformers has, and parts of families that have a name, such as ``gemma3_text``."""
    folder = os.path.join(root_of("transformers"), "models")
    try:
        found = {name for name in os.listdir(folder) if not name.startswith(("_", ".")) and "." not in name}
    except OSError:
        return []
    for name in ("auto_mappings", "configuration_auto"):
        file = os.path.join(folder, "auto", f"{name}.py")
        with contextlib.suppress(OSError, ValueError), open(file, encoding="utf-8") as text:
            found.update(_MODEL_TYPE.findall(text.read()))
    return sorted(found)


def versions_loaded() -> dict[str, str]:
    """The packages of the stack that are imported in this process, with their versions."""
    loaded = {}
    for name in catalog.STACK:
        module = sys.modules.get(name)
        # A trainer's package may stand here as a bare shell around the one module that was loaded.
        if module is not None and not getattr(module, "__ckptdoctor_bare__", False):
            loaded[name] = str(getattr(module, "__version__", "")) or _version(name)
    return loaded


def _version(name: str) -> str:
    try:
        return str(read(importlib.metadata.distribution(name)).get("version", ""))
    except importlib.metadata.PackageNotFoundError:
        return ""


def root_of(package: str) -> str:
    """The folder of an installed package, hidden or not, found without importing it; empty when it is not installed."""
    is_hidden = sys.modules.get(package, importlib) is None
    try:
        spec = importlib.machinery.PathFinder.find_spec(package) if is_hidden else importlib.util.find_spec(package)
    except (ImportError, ValueError, AttributeError):
        return ""
    locations = list(spec.submodule_search_locations or []) if spec else []
    return str(locations[0]) if locations else ""  # transformers gives a Path once it is imported
