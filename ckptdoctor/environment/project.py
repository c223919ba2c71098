"""What a project declares of itself, read without running any of it."""

from __future__ import annotations

import ast
import configparser
import email.parser
import functools
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from packaging.version import InvalidVersion, Version

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILES = ("pyproject.toml", "setup.cfg", "setup.py")
"""Files that make a folder a project."""

Read: TypeAlias = Callable[[str], str]
"""The text of a file by its path in the project; empty where there is none."""

_VERSION = re.compile(
    r"""^(?:__version__|VERSION)\s*(?::\s*str\s*)?=\s*['"]v?([^'"\n]+)['"]""", re.MULTILINE | re.IGNORECASE
)


class Declared(NamedTuple):
    """What a project says; empty where it does not."""

    name: str
    version: str
    """Normalised; empty where the build computes it."""
    requires_python: str = ""


def in_folder(folder: Path) -> Read:
    """Reads the files of a folder."""

    def read(name: str) -> str:
        try:
            return (folder / name).read_text(encoding="utf-8")
        except (OSError, ValueError):
            return ""

    return read


def declared(read: Read) -> Declared:
    """What a project declares, in the order in which pip's builds would find it."""
    found = _declared(read("pyproject.toml"), read("setup.cfg"), read("setup.py"), read("PKG-INFO"))
    if not found.version:
        found = found._replace(version=_normalised(_elsewhere(_table(read("pyproject.toml")), read)))
    return found


@functools.lru_cache(maxsize=64)  # the commits of a history share most of their files
def _declared(pyproject: str, cfg: str, setup: str, info: str) -> Declared:
    table = _table(pyproject)
    name, version = (next(filter(None, _said(table, cfg, setup, info, key)), "") for key in ("name", "version"))
    return Declared(name, _normalised(version), str(_within(table, "project").get("requires-python", "")))


def _said(table: dict[str, Any], cfg: str, setup: str, info: str, key: str) -> Iterator[str]:
    yield str(_within(table, "project").get(key, ""))
    yield str(_within(table, "tool", "poetry").get(key, ""))
    with suppress(ValueError, configparser.Error):
        settings = configparser.RawConfigParser()
        settings.read_string(cfg)
        said = settings.get("metadata", key, fallback="")
        yield "" if said.startswith(("attr:", "file:")) else said
    with suppress(ValueError, SyntaxError, RecursionError):
        yield from _in_setup(ast.parse(setup), key)
    # An unpacked source archive has what its build computed.
    yield str(email.parser.HeaderParser().parsestr(info).get(key, ""))


def _elsewhere(table: dict[str, Any], read: Read) -> str:
    """The version in the file that hatch or setuptools takes it from."""
    if path := _within(table, "tool", "hatch", "version").get("path"):
        return _assigned(read(str(path)))
    said = _within(table, "tool", "setuptools", "dynamic", "version")
    if "file" in said:
        return read(said["file"] if isinstance(said["file"], str) else str(said["file"][0])).strip()
    module = str(said.get("attr", "")).rpartition(".")[0].replace(".", "/")
    places = [f"{root}{module}{end}" for root in ("", "src/") for end in (".py", "/__init__.py")] if module else []
    return next(filter(None, map(_assigned, map(read, places))), "")


def _assigned(source: str) -> str:
    found = _VERSION.search(source)
    return found[1] if found else ""


def _normalised(version: str) -> str:
    try:
        return str(Version(version))
    except InvalidVersion:
        return ""


def _table(pyproject: str) -> dict[str, Any]:
    with suppress(ValueError):
        return tomllib.loads(pyproject)
    return {}


def _within(table: dict[str, Any], *keys: str) -> dict[str, Any]:
    for key in keys:
        inner = table.get(key, {})
        if not isinstance(inner, dict):
            return {}
        table = inner
    return table


def _in_setup(tree: ast.Module, key: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("setup", "setuptools.setup"):
            for keyword in node.keywords:
                if keyword.arg == key and isinstance(keyword.value, ast.Constant):
                    yield str(keyword.value.value)
