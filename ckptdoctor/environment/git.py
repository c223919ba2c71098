"""git, run so that it asks nothing, and looks at the repository that it is told to."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

from ckptdoctor.environment.uv_errors import clean
from ckptdoctor.errors import TargetError

_QUIET = {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
_OTHERS = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY")
"""What a hook, in which ckptdoctor may run, has set for another repository."""


def run(arguments: Sequence[str], **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run git and collect its output.

    Args:
        arguments: Of the command line.
        environment: Variables to set.

    Raises:
        TargetError: git is missing.
    """
    inherited = {name: value for name, value in os.environ.items() if name not in _OTHERS}
    try:
        return subprocess.run(
            ["git", *arguments],  # noqa: S607 - the one that the user runs
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            env={**inherited, **_QUIET, **environment},
        )
    except OSError as error:
        raise TargetError("git is missing.", "install git, or name a folder or a wheel") from error


def reason(done: subprocess.CompletedProcess[bytes]) -> str:
    """The last thing that git said, without a full stop."""
    lines = [line for line in clean(done.stderr.decode(errors="replace")).splitlines() if line.strip()]
    return (lines[-1] if lines else "it gave no reason").removeprefix("fatal: ").rstrip(".")
