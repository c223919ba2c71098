"""The commands that install the releases that were tried."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from ckptdoctor import catalog
from ckptdoctor.model.evidence import Environment


def commands(requirements: Iterable[str], environment: Environment, anew: Collection[str] = ()) -> list[str]:
    """The commands that install requirements as they were tried, with pip if the target has pip, and with uv.

    A trainer is installed without its dependencies, and so is a release that replaces an edited copy. All other packages are
    installed with their dependencies.
    """
    executable = shlex.quote(environment.executable)
    pip = shutil.which("pip")
    belongs = pip is not None and Path(pip).parent == Path(environment.executable).parent
    has_pip = not environment.packages or bool(environment.version("pip"))
    installers = [*(["pip install" if belongs else f"{executable} -m pip install"] if has_pip else [])]
    return [_command(list(requirements), one, anew) for one in (*installers, f"uv pip install --python {executable}")]


def _command(wanted: Sequence[str], install: str, anew: Collection[str]) -> str:
    again = [one for one in wanted if one.partition("==")[0] in anew]
    alone = [one for one in wanted if catalog.is_trainer(one.partition("==")[0]) and one not in again]
    others = [one for one in wanted if one not in (*alone, *again)]
    parts = [f"{install} {_quoted(others)}"] if others else []
    parts += [f"{install} --no-deps {_quoted(alone)}"] if alone else []
    # Without this option, pip keeps an edited copy of the same version.
    parts += [f"{install} --force-reinstall --no-deps {_quoted(again)}"] if again else []
    return " && ".join(parts)


def _quoted(requirements: Sequence[str]) -> str:
    return " ".join(f"'{one}'" for one in requirements)
