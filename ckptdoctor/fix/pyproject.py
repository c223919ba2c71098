"""Pins releases in a pyproject.toml, in every table that lists packages."""

from __future__ import annotations

import re
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import tomlkit
from packaging.utils import canonicalize_name
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Array

from ckptdoctor.errors import UsageFault
from ckptdoctor.fix.pins import Changes, admits_only, direct_fault, pin_in, pins, with_pin


def edit_text(text: str, changes: Changes, path: Path) -> str:
    """The text with the changed packages pinned.

    Raises:
        UsageFault: It cannot be edited with certainty.
    """
    try:
        document = tomlkit.parse(text)
    except (TOMLKitError, ValueError, RecursionError) as fault:
        raise UsageFault(f"{path} is not TOML: {fault}.", "Fix it, or give a requirements file.") from None
    _refuse_sources(document, changes, path)
    named = _edit_arrays(document, changes, path) | _edit_poetry(document, changes, path)
    _append(document, {name: release for name, release in changes.items() if name not in named}, path)
    edited = tomlkit.dumps(document)
    if not _means(edited, document):
        raise UsageFault(f"{path} is formatted in a way that cannot be edited safely.", "Use the constraints.")
    # tomlkit ends the lines that it adds in its own way.
    return edited if re.search(r"(?<!\r)\n", text) else re.sub(r"(?<!\r)\n", "\r\n", edited)


def _means(text: str, document: tomlkit.TOMLDocument) -> bool:
    try:
        return tomlkit.parse(text).unwrap() == document.unwrap()
    except (TOMLKitError, ValueError):
        return False


def _table(document: Any, *keys: str) -> MutableMapping[str, Any]:
    """The table under these keys; an empty one if they lead to no table."""
    for key in keys:
        document = document.get(key) if isinstance(document, MutableMapping) else None
    return document if isinstance(document, MutableMapping) else {}


def _refuse_sources(document: Any, changes: Changes, path: Path) -> None:
    for key in _table(document, "tool", "uv", "sources"):
        name = canonicalize_name(key)
        if name in changes:
            raise direct_fault(name, f"[tool.uv.sources] in {path}")


def _arrays(document: Any) -> Iterator[tuple[str, Array]]:
    """Every array of requirements, with a name for its place."""
    places: list[tuple[str, ...]] = [("project", "dependencies")]
    places += [("tool", "uv", f"{kind}-dependencies") for kind in ("constraint", "override", "dev")]
    for keys in (("project", "optional-dependencies"), ("dependency-groups",), ("tool", "pdm", "dev-dependencies")):
        places += [(*keys, group) for group in _table(document, *keys)]
    places += [("tool", "rye", "dev-dependencies")]
    for name in _table(document, "tool", "hatch", "envs"):
        places += [("tool", "hatch", "envs", name, kind) for kind in ("dependencies", "extra-dependencies")]
    for place in places:
        array = _table(document, *place[:-1]).get(place[-1])
        if isinstance(array, Array):
            yield f"{place[-1]} of [{'.'.join(place[:-1])}]", array


def _edit_arrays(document: Any, changes: Changes, path: Path) -> set[str]:
    named = set()
    for where, array in _arrays(document):
        for index, text in enumerate(list(array)):
            pin = pin_in(text, changes, f"{where} in {path}") if isinstance(text, str) else None
            if pin is None:
                continue
            named.add(pin.name)
            if with_pin(text, pin) != text:
                array[index] = _quoted(with_pin(text, pin), text)
    return named


def _quoted(text: str, like: Any) -> Any:
    """A TOML string with the quotes of the string that it replaces, if they can quote it."""
    single = like.as_string().startswith("'") and "'" not in text
    return tomlkit.string(text, literal=single)


def _edit_poetry(document: Any, changes: Changes, path: Path) -> set[str]:
    places: list[tuple[str, ...]] = [("dependencies",), ("dev-dependencies",)]
    places += [("group", group, "dependencies") for group in _table(document, "tool", "poetry", "group")]
    named = set()
    for keys in places:
        table = _table(document, "tool", "poetry", *keys)
        for key in list(table):
            name = str(canonicalize_name(key))
            if name not in changes or name == "python":  # there, python is the interpreter
                continue
            for holder, slot in _slots(table, key, f"[tool.poetry.{'.'.join(keys)}] in {path}"):
                named.add(name)
                _pin_poetry(holder, slot, changes[name])
    return named


def _slots(table: MutableMapping[str, Any], key: str, where: str) -> Iterator[tuple[MutableMapping[str, Any], str]]:
    """Where a package's release is written: as the value of its name, or as ``version`` in one or more tables."""
    value = table[key]
    if isinstance(value, str):
        yield table, key
        return
    for part in value if isinstance(value, list) else [value]:
        if not isinstance(part, MutableMapping):
            continue
        if {"git", "path", "url", "file"} & set(part):
            raise direct_fault(str(canonicalize_name(key)), where)
        if isinstance(part.get("version"), str):
            yield part, "version"


def _pin_poetry(holder: MutableMapping[str, Any], slot: str, release: str) -> None:
    old = holder[slot]
    exact = f"=={old}" if re.match(r"\s*\d", old) else old  # Poetry reads a bare release as that release
    if not admits_only(exact, release):
        holder[slot] = _quoted(f"=={release}", old)


def _append(document: Any, missing: Changes, path: Path) -> None:
    if not missing:
        return
    project = _table(document, "project")
    array = project.get("dependencies")
    dynamic = project.get("dynamic")
    if not isinstance(array, Array) or (isinstance(dynamic, list) and "dependencies" in dynamic):
        message = f"{path} does not name {', '.join(missing)}, and has no [project] dependencies to add to."
        raise UsageFault(message, "Give the requirements file.")
    for pin in pins(missing):
        array.insert(_end(array), pin)


def _end(array: Array) -> int:
    """Where to add an entry: at the end, or before a last entry without a comma that a comment follows.

    After such an entry, tomlkit would write the new one behind the comment, without a comma.
    """
    trial = tomlkit.parse(f"entries = {array.as_string()}")
    trial["entries"].append("")
    try:
        tomlkit.parse(tomlkit.dumps(trial))
    except TOMLKitError:
        return len(array) - 1
    return len(array)
