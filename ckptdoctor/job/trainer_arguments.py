"""Which arguments the installed trainers have, read from the source of their classes without importing any of them."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from ckptdoctor.model.evidence import Environment

_LLAMAFACTORYS = {
    "llamafactory": ("hparams/*.py",),
    "transformers": ("training_args.py", "training_args_seq2seq.py"),
}


def refused(keys: Iterable[str], environment: Environment) -> list[str]:
    """Keys of a job that the installed LLaMA-Factory has no argument for, and so refuses; none where that cannot be told."""
    if os.environ.get("ALLOW_EXTRA_ARGS", "0").lower() in ("true", "y", "1"):
        return []
    return unknown(keys, environment, _LLAMAFACTORYS)


def unknown(
    keys: Iterable[str], environment: Environment, files: Mapping[str, Sequence[str]], also: Sequence[str] = ()
) -> list[str]:
    """Keys of a job that no argument of installed packages has the name of; none where that cannot be told.

    Args:
        keys: The keys.
        environment: The target.
        files: Where each package declares arguments: patterns of paths in its folder, of the first package at least one.
        also: Names that others declare.
    """
    known: set[str] = set(also)
    for place, (package, patterns) in enumerate(files.items()):
        folder = _folder(environment, package)
        found = sorted(file for pattern in patterns for file in folder.glob(pattern)) if folder else []
        if (not found and place == 0) or folder is None:
            return []
        try:
            known |= {name for file in found for name in _fields(file)}
        except (OSError, SyntaxError, ValueError):
            return []
    return [key for key in keys if key not in known]


def _folder(environment: Environment, package: str) -> Path | None:
    name = {"ms-swift": "swift"}.get(package, package)
    places = [Path(one.location) / name for one in environment.packages if one.name == package]
    return places[0] if places and places[0].is_dir() else None


def _fields(file: Path) -> Iterator[str]:
    """Names with a type in the body of any class, their aliases, and options of argparse.

    An argument too many is no harm, one too few would be.
    """
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "add_argument":
            names = [one.value for one in node.args if isinstance(one, ast.Constant)]
            yield from (str(name).lstrip("-").replace("-", "_") for name in names)
        if isinstance(node, ast.keyword) and node.arg in ("alias", "validation_alias"):
            yield from (
                one.value
                for one in ast.walk(node.value)
                if isinstance(one, ast.Constant) and isinstance(one.value, str)
            )
        for line in node.body if isinstance(node, ast.ClassDef) else ():
            if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                yield line.target.id
