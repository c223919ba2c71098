"""Turns a change of releases into lines that pin them: constraints, or a diff of the file that asks for packages.

Nothing is written and nothing in a file is run. What cannot be pinned with certainty is refused: an edit that the
installer then ignores would look like a remedy that does not help.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

import tomlkit
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import InvalidName, canonicalize_name
from packaging.version import InvalidVersion, Version
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Array

from ckptdoctor.errors import UsageFault
from ckptdoctor.remedies.patch import diff

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Changes = Mapping[str, str]
"""Normalised distribution names, and the release that each is to have."""

_LOCKS = {"uv.lock", "poetry.lock", "pdm.lock", "pixi.lock", "pipfile.lock", "conda-lock.yml"}
_OTHERS = {"setup.py", "setup.cfg", "pipfile"}

_ANEW = "Write the file anew with pip-compile or `uv pip compile`, with the constraints."

_COMMENT = re.compile(r"(?:^|\s)#.*", re.DOTALL)
_OPTION = re.compile(r"(?:^|\s)-")
_EDITABLE = re.compile(r"\s*(?:-e|--editable)(?:[\s=]+|(?=[^-\s]))(.+)", re.DOTALL)
_INCLUDE = re.compile(r"\s*(?:-r|--requirement)(?:[\s=]+|(?=[^-\s]))(.+)", re.DOTALL)
_HASHED = re.compile(r"(?:^|\s)--(?:hash[\s=]|require-hashes)")

_HEAD = re.compile(r"\s*(?P<name>[A-Z0-9](?:[A-Z0-9._-]*[A-Z0-9])?)(?:\s*\[[^\]]*\])?", re.ASCII | re.IGNORECASE)
_ARCHIVE = re.compile(r"\.(?:whl|zip|tar\.\w+|tgz)$", re.IGNORECASE)
_FILE = re.compile(r"(?P<name>[\w.-]+?)-v?\d[^/]*", re.ASCII)


def constraints(changes: Changes, kept: Changes, why: str) -> str:
    """Write a constraints file, as pip and uv take it with ``-c``.

    Args:
        changes: The releases to change to.
        kept: Releases that have to stay what they are for the remedy to hold.
        why: What the change is for; untrusted, and made a comment whatever it holds.

    Returns:
        The file's text.

    Raises:
        UsageFault: If a name or a release is none.
    """
    changes = _checked(changes)
    kept = {name: release for name, release in _checked(kept).items() if name not in changes}
    lines = [*_comment(why), *_pins(changes)]
    if kept:
        lines += [*_comment("These have to stay for the remedy to hold:"), *_pins(kept)]
    return "".join(f"{line}\n" for line in lines)


def edit(path: Path, changes: Changes) -> str:
    """Have a requirements file or a pyproject.toml ask for other releases.

    Args:
        path: The file; one named ``*.toml`` is read as a pyproject.toml.
        changes: The releases to ask for.

    Returns:
        A unified diff for ``patch -p1`` in the file's folder; empty when the file asks for these releases already.

    Raises:
        UsageFault: If the file cannot be read, or releases cannot be pinned in it.
    """
    changes = _checked(changes)
    text = _read(path)
    edited = (_project if path.suffix.lower() == ".toml" else _requirements)(text, changes, path)
    # patch(1) ends a name with spaces in it only at a tab.
    return diff(text, edited, f"{path.name}\t" if " " in path.name else path.name)


def _checked(changes: Changes) -> dict[str, str]:
    """Names and releases that are nothing else, so that none can smuggle in another line."""
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


def _pins(changes: Changes) -> list[str]:
    return [f"{name}=={release}" for name, release in sorted(changes.items())]


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


# What one requirement asks for


class _Ask(NamedTuple):
    """A requirement of a changed package: where its specifier stands, and what is to stand there."""

    name: str
    start: int
    end: int
    specifier: str


def _ask(text: str, changes: Changes, where: str) -> _Ask | None:
    """Find what a requirement says of a changed package; None if it is about none of them."""
    head = _HEAD.match(text)
    rest = text[head.end() :] if head else text
    if head is None or _is_place(text, rest):
        _refuse_direct(text, changes, where)
        return None
    name = str(canonicalize_name(head["name"]))
    if name not in changes:
        return None
    if rest.lstrip().startswith("@"):
        raise _direct(name, where)
    return _placed(text, head.end(), name, changes[name], where)


def _is_place(text: str, rest: str) -> bool:
    """Whether a requirement is a file, a folder or an address: what follows its first word tells."""
    return bool(_ARCHIVE.search(text.strip())) if not rest.strip() else not re.match(r"[\s\[<>=!~(;@]", rest)


def _placed(text: str, head: int, name: str, release: str, where: str) -> _Ask:
    try:
        Requirement(text.strip())
    except InvalidRequirement:
        message = f"{where} names {name}, but is no requirement that can be read."
        raise UsageFault(message, f"Write it as for pip: {name}=={release}.") from None
    old = text[head:].partition(";")[0].strip()
    start = text.index(old, head) if old else head
    return _Ask(name, start, start + len(old), old if _asks(old, release) else f"=={release}")


def _with(text: str, ask: _Ask) -> str:
    return text[: ask.start] + ask.specifier + text[ask.end :]


def _asks(specifier: str, release: str) -> bool:
    """Whether a specifier admits this release alone; a build of it, such as 2.6.0+cu124 of 2.6.0, is that release."""
    try:
        found = list(SpecifierSet(specifier.strip("() ")))
    except InvalidSpecifier:
        return False
    if len(found) != 1 or found[0].operator != "==" or found[0].version.endswith(".*"):
        return False
    return SpecifierSet(f"=={release}").contains(found[0].version, prereleases=True)


def _refuse_direct(text: str, changes: Changes, where: str) -> None:
    """Refuse an archive, a repository or a folder that is a changed package, as far as its name tells."""
    names = _named_by(text)
    for name in changes:
        if _squeezed(name) in names:
            raise _direct(name, where)


def _direct(name: str, where: str) -> UsageFault:
    message = f"{where} takes {name} from a fixed place, not by its release."
    return UsageFault(message, "Replace it with a release by hand, or use the constraints in its place.")


def _named_by(text: str) -> set[str]:
    egg = re.search(r"[#&]egg=([\w.-]+)", text)
    if egg:
        return {_squeezed(egg[1])}
    place = re.split("[;#]", text, maxsplit=1)[0].strip()
    place = place.rpartition("[")[0] if place.endswith("]") else place
    place = unquote(place).replace("\\", "/").rstrip("/")
    file = _FILE.fullmatch(place.rpartition("/")[2])
    if file and _ARCHIVE.search(place):
        return {_squeezed(file["name"])}
    # A repository may stand anywhere in an address (github.com/x/NAME/archive/main.zip), a folder's name only last.
    parts = place.split("/") if "://" in place else [place.rpartition("/")[2]]
    return {_squeezed(re.sub(r"(\.git)?(@.*)?$", "", part)) for part in parts}


def _squeezed(name: str) -> str:
    # Repositories are spelled more freely than packages: LLaMA-Factory holds llamafactory.
    return re.sub(r"[-_.]", "", name).lower()


# Requirements files


class _Line(NamedTuple):
    """A line as pip sees it, continuations joined, and where each of its characters stands in the file."""

    number: int
    text: str
    places: list[int]


class _Edit(NamedTuple):
    start: int
    end: int
    text: str


def _requirements(text: str, changes: Changes, path: Path) -> str:
    lines = list(_lines(text))
    missing, edits = dict(changes), []
    for line in lines:
        ask = _line_ask(line, changes, f"{path}, line {line.number},")
        if ask is None:
            continue
        missing.pop(ask.name, None)
        # The end is where the last character stands, since a continuation may follow it.
        start = line.places[ask.start] if ask.end > ask.start else line.places[ask.start - 1] + 1
        end = line.places[ask.end - 1] + 1
        edits.append(_Edit(start, end, ask.specifier))
    if missing:
        _refuse_to_append(lines, missing, path)
    for change in reversed(edits):
        text = text[: change.start] + change.text + text[change.end :]
    return _appended(text, missing)


def _lines(text: str) -> Iterator[_Line]:
    """Join lines as pip does; a line that is all comment ends a requirement and is never continued."""
    joined, places, first, offset = "", list[int](), 1, 0
    for number, raw in enumerate(text.splitlines(keepends=True), 1):
        bare = raw.splitlines()[0]
        if number == 1 and bare.startswith("\ufeff"):
            bare = " " + bare[1:]
        comment = bare.lstrip().startswith("#")
        if comment:  # set off from what it follows
            joined, places = f"{joined} ", [*places, offset]
        goes_on = bare.endswith("\\") and not comment
        bare = bare.rstrip("\\") if goes_on else bare
        joined += bare
        places += range(offset, offset + len(bare))
        offset += len(raw)
        if not goes_on:
            yield _Line(first, joined, places)
            joined, places, first = "", [], number + 1
    if joined:
        yield _Line(first, joined, places)


def _line_ask(line: _Line, changes: Changes, where: str) -> _Ask | None:
    body = _COMMENT.sub("", line.text)
    editable = _EDITABLE.match(body)
    if editable:
        direct = re.match(r"\s*([\w.-]+)\s*@", editable[1])  # -e name @ URL
        _refuse_direct(f"#egg={direct[1]}" if direct else editable[1], changes, where)
        return None
    option = _OPTION.search(body)
    text = body[: option.start()] if option else body
    ask = _ask(text, changes, where) if text.strip() else None
    if ask and _HASHED.search(body) and ask.specifier != text[ask.start : ask.end]:
        raise UsageFault(f"{where} pins {ask.name} by hashes, and its hashes would no longer fit.", _ANEW)
    return ask


def _refuse_to_append(lines: list[_Line], missing: Changes, path: Path) -> None:
    bodies = [_COMMENT.sub("", line.text) for line in lines]
    names = ", ".join(missing)
    includes = [found[1].strip().strip("\"'") for found in map(_INCLUDE.match, bodies) if found]
    if includes:
        message = f"{path} does not name {names}, but includes {', '.join(includes)}, which may."
        raise UsageFault(message, f"Give that file: {includes[0]}.")
    if any(map(_HASHED.search, bodies)):  # with a hash anywhere, pip wants one for every package
        raise UsageFault(f"{path} does not name {names}, and needs hashes for all that it names.", _ANEW)


def _appended(text: str, missing: Changes) -> str:
    if not missing:
        return text
    lines = text.splitlines(keepends=True)
    last = lines[-1] if lines else ""
    ending = "\r\n" if lines and lines[0].endswith("\r\n") else "\n"
    ended = not text or last != last.splitlines()[0]
    bare = last.splitlines()[0] if last else ""
    if not ended:
        text += ending
    if bare.endswith("\\") and not bare.lstrip().startswith("#"):
        text += ending  # an empty line ends a continuation
    return text + ending.join(_pins(missing)) + (ending if ended else "")


# pyproject.toml


def _project(text: str, changes: Changes, path: Path) -> str:
    try:
        document = tomlkit.parse(text)
    except (TOMLKitError, ValueError, RecursionError) as fault:
        raise UsageFault(f"{path} is not TOML: {fault}.", "Fix it, or give a requirements file.") from None
    _refuse_sources(document, changes, path)
    named = _edit_arrays(document, changes, path) | _edit_poetry(document, changes, path)
    _append(document, {name: release for name, release in changes.items() if name not in named}, path)
    edited = tomlkit.dumps(document)
    if not _means(edited, document):
        raise UsageFault(f"{path} is laid out in a way that cannot be edited safely.", "Use the constraints.")
    # tomlkit ends the lines that it adds in its own way.
    return edited if re.search(r"(?<!\r)\n", text) else re.sub(r"(?<!\r)\n", "\r\n", edited)


def _means(text: str, document: tomlkit.TOMLDocument) -> bool:
    try:
        return tomlkit.parse(text).unwrap() == document.unwrap()
    except (TOMLKitError, ValueError):
        return False


def _table(document: Any, *keys: str) -> MutableMapping[str, Any]:
    """The table under these keys; an empty one if there is none, or something else."""
    for key in keys:
        document = document.get(key) if isinstance(document, MutableMapping) else None
    return document if isinstance(document, MutableMapping) else {}


def _refuse_sources(document: Any, changes: Changes, path: Path) -> None:
    for key in _table(document, "tool", "uv", "sources"):
        name = canonicalize_name(key)
        if name in changes:
            raise _direct(name, f"[tool.uv.sources] in {path}")


def _arrays(document: Any) -> Iterator[tuple[str, Array]]:
    """Every array of requirements, with the table it stands in."""
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
            ask = _ask(text, changes, f"{where} in {path}") if isinstance(text, str) else None
            if ask is None:
                continue
            named.add(ask.name)
            if _with(text, ask) != text:
                array[index] = _quoted(_with(text, ask), text)
    return named


def _quoted(text: str, like: Any) -> Any:
    """A TOML string in the quotes of the one that it replaces, if it can stand in them."""
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
    """Where a package's releases stand: beside its name, or as ``version`` in one table or in several."""
    value = table[key]
    if isinstance(value, str):
        yield table, key
        return
    for part in value if isinstance(value, list) else [value]:
        if not isinstance(part, MutableMapping):
            continue
        if {"git", "path", "url", "file"} & set(part):
            raise _direct(str(canonicalize_name(key)), where)
        if isinstance(part.get("version"), str):
            yield part, "version"


def _pin_poetry(holder: MutableMapping[str, Any], slot: str, release: str) -> None:
    old = holder[slot]
    exact = f"=={old}" if re.match(r"\s*\d", old) else old  # to Poetry, a bare release is that release
    if not _asks(exact, release):
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
    for pin in _pins(missing):
        array.insert(_end(array), pin)


def _end(array: Array) -> int:
    """Where an entry can be added: last, or before a last one that a comment follows and no comma.

    There, tomlkit puts the entry behind the comment and leaves the comma out.
    """
    trial = tomlkit.parse(f"entries = {array.as_string()}")
    trial["entries"].append("")
    try:
        tomlkit.parse(tomlkit.dumps(trial))
    except TOMLKitError:
        return len(array) - 1
    return len(array)
