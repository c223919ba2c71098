"""Which arguments the installed LLaMA-Factory has, read from the source of its classes without importing any of them."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from ckptdoctor.model.evidence import Environment

_TRAINING_ARGUMENTS = ("training_args.py", "training_args_seq2seq.py")


def refused(keys: Iterable[str], environment: Environment) -> list[str]:
    """Keys of a job that the installed LLaMA-Factory has no argument for, and so refuses; none where that cannot be told."""
    if os.environ.get("ALLOW_EXTRA_ARGS", "0").lower() in ("true", "y", "1"):
        return []
    trainer, library = (_folder(environment, name) for name in ("llamafactory", "transformers"))
    if trainer is None or library is None:
        return []
    own, inherited = sorted((trainer / "hparams").glob("*.py")), [library / name for name in _TRAINING_ARGUMENTS]
    try:
        known = {name for file in (*own, *inherited) for name in _fields(file)}
    except (OSError, SyntaxError, ValueError):
        return []
    return [key for key in keys if key not in known] if own else []


def _folder(environment: Environment, package: str) -> Path | None:
    places = [Path(one.location) / package for one in environment.packages if one.name == package]
    return places[0] if places and places[0].is_dir() else None


def _fields(file: Path) -> Iterator[str]:
    """Names with a type in the body of any class: an argument too many is no harm, one too few would be."""
    for node in ast.walk(ast.parse(file.read_bytes())):
        for line in node.body if isinstance(node, ast.ClassDef) else ():
            if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                yield line.target.id
