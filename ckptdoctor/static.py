"""The verdict that the installed files had when their releases were measured: nothing of the target is imported or run."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from msgspec import structs
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ckptdoctor import catalog, knowledge
from ckptdoctor.environment import interpreter, records
from ckptdoctor.knowledge import asking
from ckptdoctor.model.answer import SCHEMA, Answer

LOOKED_UP = "Looked up, not run:"
"""How an answer begins, so that nobody takes it for a check."""

_OF_TRANSFORMERS = ("modeling_layers.py", "modeling_utils.py", "trainer.py")
"""Files of transformers that decide how layers are checkpointed, beside those of the families that were measured."""


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
    found = {name: one for name in knowledge.load().axes if (one := _installed(name, folders)) is not None}
    trainers = [name for name in found if catalog.is_trainer(name)]
    if asking.MODEL_LIBRARY not in found or not trainers:
        what = "No trainer that was measured" if asking.MODEL_LIBRARY in found else "transformers"
        is_not = "is installed" if what.startswith("No") else "is not installed"
        return _unknown(f"{what} {is_not} there.")
    for name, distribution in found.items():
        if why := _why_not(name, distribution, folders):
            return _unknown(f"{name} {distribution.version} is not known: {why}.")
    requirements = [Requirement(f"{name}=={one.version}") for name, one in found.items()]
    said = asking.ask(requirements, family)
    return structs.replace(said, summary=f"{LOOKED_UP} {said.summary}", notes=(*said.notes, *_notes(folders)))


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


def _installed(name: str, folders: Sequence[str]) -> importlib.metadata.Distribution | None:
    """The first distribution of that name; only folders that are called like it are read."""
    for folder in folders:
        for info in sorted(Path(folder).glob("*.dist-info")):
            if canonicalize_name(info.name.partition("-")[0]) == name:
                return importlib.metadata.Distribution.at(info)
    return None


def _why_not(name: str, distribution: importlib.metadata.Distribution, folders: Sequence[str]) -> str:
    """Why the files are not those of the release; empty if they are."""
    if distribution.read_text("direct_url.json"):
        return "it was installed from a folder, a file or a repository"
    recorded = records.of(distribution)
    if not recorded:
        return "its installer kept no record of its files"
    folder = str(distribution.locate_file(""))
    module = name.replace("-", "_")
    for other in folders:
        if other == folder.rstrip(os.sep):
            break
        if (Path(other) / module).is_dir() or (Path(other) / f"{module}.py").is_file():
            return f"its code is loaded from {other}"
    for file in _files(name, recorded):
        if records.digest(Path(folder) / file) != recorded[file]:
            return f"{file} was changed"
    return ""


def _files(name: str, recorded: Mapping[str, str]) -> list[str]:
    """The files of a package that decide how checkpointing goes."""
    if name == asking.MODEL_LIBRARY:
        families = knowledge.load().models()
        wanted = [f"transformers/{file}" for file in _OF_TRANSFORMERS]
        wanted += [f"transformers/models/{family}/modeling_{family}.py" for family in families]
        return [file for file in wanted if file in recorded]
    modules = [
        dotted.replace(".", "/")
        for function, one in catalog.functions().items()
        if catalog.package_of(function) == name
        for dotted in one.modules
    ]
    return [file for one in modules for file in (f"{one}.py", f"{one}/__init__.py") if file in recorded]


def _notes(folders: Sequence[str]) -> Iterator[str]:
    known = knowledge.load()
    torch = _installed("torch", folders)
    if torch is not None and torch.version != known.torch:
        yield f"It was measured with torch {known.torch}; torch {torch.version} is installed."
    yield "Engines, and a job's own model, patches and settings, are no part of this answer: `ckptdoctor check` runs them."
