"""What an overlay has to know of the target: its Python, where its packages are, whether they changed."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ckptdoctor.errors import TargetError

_LOOK = """
import json, sys, sysconfig
paths = sysconfig.get_paths()
print(json.dumps([sys.prefix, list(sys.version_info), [paths["purelib"], paths["platlib"]]]))
"""


@dataclass(frozen=True)
class Installation:
    """The target, as far as it decides what an overlay holds."""

    python: Path
    prefix: Path
    version: str
    stamp: tuple[str, ...]
    """Changes when a package is installed or removed."""
    sees_base: bool
    """A virtual environment that shares its base's packages, which uv does not see."""


def look_at(python: Path) -> Installation:
    """Ask a Python where its packages are.

    Raises:
        TargetError: It does not run.
    """
    # The path stays as it is: in a virtual environment it is a link, and the environment is found through it.
    python = Path(os.path.abspath(python))  # noqa: PTH100
    command = [str(python), "-I", "-B", "-c", _LOOK]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", check=True, timeout=60
        )
        prefix, version, folders = json.loads(done.stdout.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        raise TargetError(f"{python} does not run as a Python interpreter.", "Name the target's python.") from error
    stamp = [str(os.stat(folder).st_mtime_ns) for folder in dict.fromkeys(folders) if Path(folder).is_dir()]  # noqa: PTH116
    stamp = [str(python.resolve()), prefix, *stamp]
    return Installation(python, Path(prefix), ".".join(map(str, version)), tuple(stamp), _sees_base(Path(prefix)))


def _sees_base(prefix: Path) -> bool:
    try:
        settings = (prefix / "pyvenv.cfg").read_text(encoding="utf-8")
    except OSError:
        return False
    return bool(re.search(r"^include-system-site-packages\s*=\s*true\s*$", settings, re.MULTILINE | re.IGNORECASE))
