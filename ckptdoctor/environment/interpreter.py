"""Which Python is the target."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from ckptdoctor.errors import TargetError


def find(chosen: str | None, environ: Mapping[str, str]) -> Path:
    """The target's interpreter.

    Args:
        chosen: An interpreter, the folder of a virtual or conda environment, or the name of a Python on ``PATH``; without
            one, the active environment (``VIRTUAL_ENV``, ``CONDA_PREFIX``), else the Python that runs ckptdoctor.
        environ: The environment variables.

    Raises:
        TargetError: There is no such interpreter.
    """
    try:
        if chosen:
            return _chosen(chosen)
        for variable in ("VIRTUAL_ENV", "CONDA_PREFIX"):
            prefix = environ.get(variable)
            if prefix:
                return _in_folder(Path(prefix), f"{variable} says {prefix}")
    except PermissionError as error:
        raise TargetError(
            f"This user may not look into {error.filename}.",
            "run ckptdoctor as a user who may, or name another target with --python",
        ) from error
    return Path(sys.executable)


def _chosen(chosen: str) -> Path:
    # The path is not resolved: a virtual environment's Python is a link, and only under its own name knows its packages.
    path = Path(chosen).expanduser().absolute()
    if path.is_dir():
        return _in_folder(path, str(path))
    if path.is_file():
        return _executable(path)
    named = shutil.which(chosen) if os.sep not in chosen else None
    if named:
        return Path(named)
    raise TargetError(
        f"There is no Python at {chosen}.",
        "give --python an interpreter, the folder of a virtual environment, or the name of a Python on PATH",
    )


def _in_folder(folder: Path, origin: str) -> Path:
    for name in ("bin/python", "bin/python3"):
        if (folder / name).is_file():
            return _executable(folder / name)
    raise TargetError(
        f"{origin}, but there is no Python in that folder.",
        "activate the training environment, or name it with --python",
    )


def _executable(path: Path) -> Path:
    if not os.access(path, os.X_OK):
        raise TargetError(f"{path} cannot be executed.", "give --python an interpreter or an environment's folder")
    return path
