"""What a project's folder declares of itself, read without running any of it."""

from __future__ import annotations

import ast
import configparser
import email.parser
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILES = ("pyproject.toml", "setup.cfg", "setup.py")
"""Files that make a folder a project."""


def name(folder: Path) -> str:
    """The package's name as pip would find it; empty where nothing declares it."""
    return next(filter(None, _declared(folder, "name")), "")


def version(folder: Path) -> str:
    """The package's version, normalised; empty where it is computed by the build."""
    with suppress(InvalidVersion):
        return str(Version(next(filter(None, _declared(folder, "version")), "")))
    return ""


def requires_python(folder: Path) -> str:
    """The versions of Python that it is made for; empty where it does not say."""
    return str(_table(folder, "project").get("requires-python", ""))


def _declared(folder: Path, key: str) -> Iterator[str]:
    yield str(_table(folder, "project").get(key, ""))
    yield str(_table(folder, "tool", "poetry").get(key, ""))
    with suppress(OSError, ValueError, configparser.Error):
        settings = configparser.RawConfigParser()
        settings.read_string((folder / "setup.cfg").read_text(encoding="utf-8"))
        said = settings.get("metadata", key, fallback="")
        yield "" if said.startswith(("attr:", "file:")) else said
    with suppress(OSError, ValueError, SyntaxError):
        yield from _in_setup(ast.parse((folder / "setup.py").read_text(encoding="utf-8")), key)
    with suppress(OSError, ValueError):
        # An unpacked source archive has what its build computed.
        text = (folder / "PKG-INFO").read_text(encoding="utf-8")
        yield str(email.parser.HeaderParser().parsestr(text).get(key, ""))


def _table(folder: Path, *keys: str) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        table = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
        for key in keys:
            table = table.get(key, {})
        return table if isinstance(table, dict) else {}
    return {}


def _in_setup(tree: ast.Module, key: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("setup", "setuptools.setup"):
            for keyword in node.keywords:
                if keyword.arg == key and isinstance(keyword.value, ast.Constant):
                    yield str(keyword.value.value)
