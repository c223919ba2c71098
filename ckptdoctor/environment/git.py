"""git, run so that it asks nothing, and looks at the repository that it is told to."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from ckptdoctor.environment.uv_errors import clean
from ckptdoctor.errors import TargetError

_QUIET = {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
_OTHERS = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY")
"""What a hook, in which ckptdoctor may run, has set for another repository."""


def run(
    arguments: Sequence[str], given: bytes = b"", variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run git and collect its output.

    Args:
        arguments: Of the command line.
        given: What it reads.
        variables: Of the environment, to set.

    Raises:
        TargetError: git is missing.
    """
    try:
        return subprocess.run(
            ["git", *arguments],  # noqa: S607 - the one that the user runs
            input=given,
            capture_output=True,
            check=False,
            env={**environment(), **(variables or {})},
        )
    except OSError as error:
        raise TargetError("git is missing.", "install git, or name a folder or a wheel") from error


def environment() -> dict[str, str]:
    """The variables that git gets."""
    return {**{name: value for name, value in os.environ.items() if name not in _OTHERS}, **_QUIET}


def reason(done: subprocess.CompletedProcess[bytes]) -> str:
    """The last thing that git said, without a full stop."""
    lines = [line for line in clean(done.stderr.decode(errors="replace")).splitlines() if line.strip()]
    return (lines[-1] if lines else "it gave no reason").removeprefix("fatal: ").rstrip(".")


@contextmanager
def reading(repository: Path) -> Iterator[Callable[[str], bytes]]:
    """What reads contents by their names, or as ``COMMIT:PATH``; it raises ``FileNotFoundError`` for what is not there."""
    with subprocess.Popen(
        ["git", "-C", str(repository), "cat-file", "--batch"],  # noqa: S607 - as above
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment(),
    ) as process:
        asked, answers = process.stdin, process.stdout
        assert asked is not None
        assert answers is not None

        def read(name: str) -> bytes:
            asked.write(os.fsencode(f"{name}\n"))
            asked.flush()
            size = answers.readline().split()[-1:]
            if not size or not size[0].isdigit():
                raise FileNotFoundError(f"git has no {name}")
            data = answers.read(int(size[0]))
            answers.read(1)
            return data

        try:
            yield read
        finally:
            asked.close()
