"""The catalog: what the field consists of, as records.

There is one record for each trainer (``trainers/``), each library of the stack that has checkpoint functions of its own
(``libraries/``), each kind of engine (``engines/``), each calling convention
(``conventions.toml``), and each project whose issue form a bug report follows (``templates/``). Both sides read them: the
doctor from these files, the environment's side over the bridge (``sent``). The code that a record needs there has the same
name: ``probes/trainers/``, ``probes/engines/``, ``probes/conventions.py``. Records are found by looking into the folders;
nothing lists them.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from ckptdoctor.catalog.records import Convention, Engine, EngineRecord, Function, Packages, Trainer

FOLDER = Path(__file__).parent
OWN_TEMPLATE = "ckptdoctor"

__all__ = ["Convention", "Engine", "Function", "Packages", "Trainer"]

Record = TypeVar("Record", Trainer, EngineRecord)


@functools.cache
def trainers() -> dict[str, Trainer]:
    """Every trainer's record by the name of its package, those with checkpoint functions of their own first."""
    found = _read("trainers", Trainer)
    return dict(sorted(found.items(), key=lambda one: (not one[1].functions, one[1].order, one[0])))


@functools.cache
def libraries() -> dict[str, Trainer]:
    """Libraries of the stack with checkpoint functions of their own, which are tried if they are named; by their packages."""
    return dict(sorted(_read("libraries", Trainer).items(), key=lambda one: one[1].order))


@functools.cache
def functions() -> dict[str, Function]:
    """The checkpoint functions of trainers and libraries by name, in their order."""
    return {one.name: one for owner in (*trainers().values(), *libraries().values()) for one in owner.functions}


@functools.cache
def with_functions() -> tuple[str, ...]:
    """Packages with checkpoint functions of their own; a combination of releases has one of them at most."""
    return tuple(package for package, trainer in trainers().items() if trainer.functions)


@functools.cache
def engines() -> dict[str, Engine]:
    """Every engine by name, in the order in which they are tried and shown."""
    records = sorted(_read("engines", EngineRecord).items(), key=lambda one: one[1].order)
    return {name: Engine(name, short, file, record) for file, record in records for name, short in record.names.items()}


@functools.cache
def conventions() -> dict[str, Convention]:
    """The calling conventions of our own model by name."""
    text = (FOLDER / "conventions.toml").read_bytes()
    return msgspec.toml.decode(text, type=dict[str, Convention])


@functools.cache
def packages() -> Packages:
    """What else is known of packages beside trainers."""
    return msgspec.toml.decode((FOLDER / "packages.toml").read_bytes(), type=Packages)


@functools.cache
def stack() -> tuple[str, ...]:
    """The packages that decide whether checkpointing works, in the order in which they are shown."""
    return (*packages().stack, *with_functions())


def templates() -> tuple[str, ...]:
    """Projects whose issue forms are known."""
    return tuple(sorted({file.stem for file in (FOLDER / "templates").glob("*.md")} - {OWN_TEMPLATE}))


def template(project: str) -> str:
    """A project's issue form as Markdown, in which ``$part`` stands for a part of the report; without one our own order."""
    return (FOLDER / "templates" / f"{project or OWN_TEMPLATE}.md").read_text(encoding="utf-8")


def is_trainer(package: str) -> bool:
    """Whether a package has checkpoint functions of its own."""
    return package in with_functions()


def trainer_of(function: str) -> Trainer | None:
    """The trainer, or library, that a checkpoint function belongs to; none for torch's and the user's own."""
    return _owners().get(package_of(function)) if function in functions() else None


@functools.cache
def checked_if_used() -> frozenset[str]:
    """Packages whose release the command of some trainer checks only for jobs that use them."""
    return frozenset[str]().union(*(trainer.checked_if_used for trainer in trainers().values()))


def is_optional(function: str) -> bool:
    """Whether a function is a library's, and so tried only if it is named: most jobs that have the library do not use it."""
    return function in functions() and package_of(function) in libraries()


def package_of(function: str) -> str:
    """The package that a checkpoint function's name begins with: ``axolotl`` of ``axolotl:offload``."""
    return function.partition(":")[0]


def needs(engine: str, package: str) -> bool:
    """Whether an engine is a package's own, such as ``zero3`` of DeepSpeed's."""
    return engine in engines() and engines()[engine].package == package


def sent() -> dict[str, Any]:
    """What the environment's side needs of the records, as JSON; ``probes/catalog.py`` takes it."""
    return {
        "stack": stack(),
        "functions": {
            name: {
                "module": _owners()[package_of(name)].module,
                "modules": one.modules,
                "needs": one.needs,
                "alone": one.alone,
                "given": one.given,
                "whole": one.whole,
            }
            for name, one in functions().items()
        },
        "start_checks": {
            package: [
                {"module": one.module, "function": one.function, "unless": one.unless} for one in trainer.start_checks
            ]
            for package, trainer in trainers().items()
            if trainer.start_checks
        },
        "engines": {
            name: {
                "module": one.file,
                "package": one.package,
                "casts_weights": one.record.casts_weights,
                "ranks": one.record.ranks,
                "precision": one.record.precision.get(name, ""),
                "hides_layers": one.record.hides_layers,
                "options": one.record.options.get(name, {}),
            }
            for name, one in engines().items()
        },
    }


def _owners() -> dict[str, Trainer]:
    return {**libraries(), **trainers()}


def _read(folder: str, type_: type[Record]) -> dict[str, Record]:
    files = sorted((FOLDER / folder).glob("*.toml"))
    return {file.stem: msgspec.toml.decode(file.read_bytes(), type=type_) for file in files}
