"""The target's Python on a node of a cluster: at the same path, or made there with the same packages."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from ckptdoctor.environment import pip_settings, uv_command, uv_errors
from ckptdoctor.errors import TargetError
from ckptdoctor.model.evidence import Environment
from ckptdoctor.store import locations, workspace


def find(python: Path, target: Environment, cache: Path) -> Path:
    """The interpreter at the same path; where there is none, that of an environment with the same packages.

    Args:
        python: The target's interpreter on the machine where the command was started.
        target: What is installed there.
        cache: This node's.

    Raises:
        TargetError: There is none, and none can be made.
    """
    if os.access(python, os.X_OK):
        return python
    packages = sorted(f"{package.name}=={package.version}" for package in target.packages)
    name = hashlib.sha256(repr(("node", target.python, packages)).encode()).hexdigest()[:32]
    folder = cache / "environments" / name
    workspace.hold(cache, f"environments/{name}")
    locations.mark_used(folder)
    if not (folder / "bin" / "python").exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with workspace.making_in(cache) as temporary:
            _install(temporary / "made", target.python, packages)
            try:
                (temporary / "made").rename(folder)
            except OSError:
                # Another process was faster, unless the folder is not there.
                if not folder.is_dir():
                    raise
    return folder / "bin" / "python"


def _install(made: Path, python: str, packages: list[str]) -> None:
    settings = pip_settings.read(None, os.environ)
    environ = {**os.environ, **pip_settings.uv_environment(settings, os.environ), "NO_COLOR": "1"}
    venv = ["venv", "--clear", "--relocatable", "--no-python-downloads", "--python", python, str(made)]
    if uv_command.run_uv(venv, environ).returncode:
        raise TargetError(f"neither the target's Python nor a Python {python} to make one from is there")
    arguments = pip_settings.uv_arguments(settings, os.environ)
    install = ["pip", "install", "--no-deps", "--python", str(made / "bin" / "python"), *arguments, *packages]
    done = uv_command.run_uv(install, environ)
    if done.returncode:
        raise uv_errors.distil(done.stderr, {})
