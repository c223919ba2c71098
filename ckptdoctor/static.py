"""The verdict that the installed files had when they were measured: nothing of the target is imported or run.

The digests of the files that matter are compared with those of each release that was measured, so that a changed file or a copy
gets the verdict of what it is, whatever its release is called.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import url2pathname

from msgspec import structs
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ckptdoctor import catalog, knowledge
from ckptdoctor.environment import interpreter, records
from ckptdoctor.knowledge import asking, files, pairs
from ckptdoctor.model.answer import SCHEMA, Answer
from ckptdoctor.model.compatibility import Map

LOOKED_UP = "Looked up, not run:"
"""How an answer begins, so that nobody takes it for a check."""


def answer(python: str | None, environ: Mapping[str, str], family: str = "") -> Answer:
    """What is known of the releases in an environment, if their files are those of the releases.

    Args:
        python: The target, as ``--python`` takes it.
        environ: The environment variables.
        family: A model family; without one, all that were measured must agree.

    Raises:
        TargetError: There is no such environment.
    """
    folders = list(_folders(interpreter.find(python, environ), environ))
    known = knowledge.load()
    found = {name: one for name in known.axes if (one := _installed(name, folders)) is not None}
    trainers = [name for name in found if catalog.is_trainer(name)]
    if pairs.MODEL_LIBRARY not in found or not trainers:
        what = "No trainer that was measured" if pairs.MODEL_LIBRARY in found else "transformers"
        is_not = "is installed" if what.startswith("No") else "is not installed"
        return _unknown(f"{what} {is_not} there.")
    requirements, notes = [], list[str]()
    for name, one in found.items():
        release = _release(one, known, pairs.models_for(family))
        if not release:
            return _unknown(f"{name} {one.version} is not known: {_why_not(one, known)}.")
        if release != one.version:
            notes.append(f"The files of {name} {one.version} that matter are those of {release}.")
        requirements.append(Requirement(f"{name}=={release}"))
    said = asking.ask(requirements, family)
    notes += [*said.notes, *_notes(folders)]
    return structs.replace(said, summary=f"{LOOKED_UP} {said.summary}", notes=tuple(notes))


def line(found: Answer) -> str:
    """An answer in a line: its first sentence."""
    first = found.summary.partition(". ")[0].rstrip(".")
    return first if first.startswith(LOOKED_UP) else f"{LOOKED_UP} {first}"


def _unknown(why: str) -> Answer:
    hint = "Run ckptdoctor check, which runs real training steps."
    return Answer(SCHEMA, "not known", f"{why} {hint}", ())


def _folders(python: Path, environ: Mapping[str, str]) -> Iterator[str]:
    """The folders of packages of an environment, as its Python would search them, without starting it."""
    yield from (entry for entry in environ.get("PYTHONPATH", "").split(os.pathsep) if entry)
    prefix = python.parent.parent
    yield from map(str, sorted(prefix.glob("lib/python3*/site-packages")))
    yield from map(str, sorted(prefix.glob("lib/python3*/dist-packages")))
    settings = prefix / "pyvenv.cfg"
    text = settings.read_text(encoding="utf-8", errors="replace") if settings.is_file() else ""
    values = dict(line.partition("=")[::2] for line in text.splitlines())
    values = {key.strip(): value.strip() for key, value in values.items()}
    if values.get("include-system-site-packages") == "true" and values.get("home"):
        yield from map(str, sorted(Path(values["home"]).parent.glob("lib/python3*/*-packages")))


class _Installed(NamedTuple):
    """A package of the target, as its installer says and as it lies there."""

    name: str
    distribution: importlib.metadata.Distribution
    folder: str
    """Where its code is loaded from."""

    @property
    def version(self) -> str:
        """As its installer says."""
        return self.distribution.version


def _installed(name: str, folders: Sequence[str]) -> _Installed | None:
    """The first distribution of that name, with the first folder that has its code."""
    modules = files.top_modules(name)
    for folder in folders:
        for info in sorted(Path(folder).glob("*.dist-info")):
            if canonicalize_name(info.name.partition("-")[0]) == name:
                distribution = importlib.metadata.Distribution.at(info)
                where = next((one for one in folders if any((Path(one) / part).is_dir() for part in modules)), "")
                return _Installed(name, distribution, where or _source(distribution))
    return None


def _source(distribution: importlib.metadata.Distribution) -> str:
    """The folder that holds the code of a package which was installed from a folder without being copied; else empty."""
    try:
        origin = json.loads(distribution.read_text("direct_url.json") or "{}")
        if origin["dir_info"]["editable"]:
            root = Path(url2pathname(urlsplit(origin["url"]).path))
            return str(root / "src" if (root / "src").is_dir() else root)
    except (KeyError, TypeError, ValueError):
        pass
    return ""


def _release(one: _Installed, known: Map, families: Sequence[str]) -> str:
    """The measured release whose files these are; empty if it is none."""
    return files.release_of(one.name, one.version, Path(one.folder), known, families) if one.folder else ""


def _why_not(one: _Installed, known: Map) -> str:
    """Why no release fits, with the name of a changed file if the installer recorded what it was."""
    if one.version not in known.axes[one.name]:
        return "it was not measured, and its files are those of no release that was"
    recorded = records.of(one.distribution)
    folder = one.distribution.locate_file("")
    for file, digest in recorded.items():
        if files.is_counted(one.name, file, known.models()) and records.digest(Path(str(folder)) / file) != digest:
            return f"{file} was changed"
    return "its files are those of no release that was measured"


def _notes(folders: Sequence[str]) -> Iterator[str]:
    known = knowledge.load()
    torch = _installed("torch", folders)
    if torch is not None and torch.version != known.torch:
        yield f"It was measured with torch {known.torch}; torch {torch.version} is installed."
    yield "Engines, and a job's own model, patches and settings, are no part of this answer: `ckptdoctor check` runs them."
