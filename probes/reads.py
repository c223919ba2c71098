"""What the process of a probe reads beside modules: a kept result is stale once any of it has changed."""

from __future__ import annotations

import functools
import os
import sys
import sysconfig
from collections.abc import Iterator
from types import FrameType
from typing import Any

from . import places

FILES: set[str] = set()
"""Files and folders that were read, listed or looked for, there or not."""

VARIABLES: set[str] = set()
"""Names of environment variables that were looked up."""

UNTRACED: set[str] = set()
"""What the user's own code did that leaves no such trace: programs that it started, connections that it made."""

_LISTS = ("os.listdir", "os.scandir")
_UNTRACED = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect")
_STANDARD = tuple({sysconfig.get_paths()["stdlib"] + os.sep, os.path.dirname(os.__file__) + os.sep})
_NOT_KEPT = ("/proc/", "/sys/", "/dev/")

_WHERE_FROM = {
    *(
        "PWD",
        "OLDPWD",
        "_",
        "SHLVL",
        "COLUMNS",
        "LINES",
        "WINDOWID",
        "TERM_SESSION_ID",
        "TMUX",
        "TMUX_PANE",
        "STY",
        "WINDOW",
    ),
    *("SSH_CLIENT", "SSH_CONNECTION", "SSH_TTY", "SSH_AUTH_SOCK", "XDG_SESSION_ID", "PYTEST_CURRENT_TEST"),
}
"""Variables that say from which folder, shell and terminal a command was started. A library reads them where it copies the
whole environment, for a program that it starts, and does not go by them."""


def told() -> dict[str, Any]:
    """All of it as JSON."""
    return {"files": sorted(FILES), "variables": sorted(VARIABLES), "untraced": sorted(UNTRACED)}


def add(more: dict[str, Any]) -> None:
    """Take in what another process of the same probe has read."""
    for known, name in ((FILES, "files"), (VARIABLES, "variables"), (UNTRACED, "untraced")):
        known.update(more.get(name, ()))


def watch_variables() -> None:
    """Note from now on which environment variables are looked up in this process and in those forked from it."""
    if not isinstance(os.environ, _Watched):
        os.environ.__class__ = _Watched


def watch_files() -> None:
    """Note from now on which files are read; for the rest of the process's life."""
    sys.addaudithook(_audit)
    for name in ("stat", "lstat"):
        original = getattr(os, name)
        watched = functools.wraps(original)(functools.partial(_stat, original))
        for supports in (os.supports_fd, os.supports_dir_fd, os.supports_follow_symlinks):
            if original in supports:
                supports.add(watched)
        setattr(os, name, watched)
        # Until Python 3.10, pathlib has functions of its own for this, taken from os when it was imported.
        accessor = getattr(sys.modules.get("pathlib"), "_NormalAccessor", None)
        if hasattr(accessor, name):
            setattr(accessor, name, staticmethod(watched))


def _stat(original: Any, path: Any, *args: Any, **kwargs: Any) -> Any:
    if "dir_fd" not in kwargs:
        _note(path)
    return original(path, *args, **kwargs)


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open":
        path, mode, flags = arguments
        writes = (
            "r" not in mode and "+" not in mode if isinstance(mode, str) else (flags or 0) & os.O_ACCMODE == os.O_WRONLY
        )
        if not writes:
            _note(path)
    elif event in _LISTS:
        _note(os.curdir if arguments[0] is None else arguments[0])
    elif event in _UNTRACED and _is_the_users(_asking()):
        UNTRACED.add(event)


def _note(path: Any) -> None:
    """Remember a path, if it was not the probes, the import system or torch that asked."""
    try:
        name = os.path.abspath(os.fsdecode(path))
    except (TypeError, ValueError):  # a descriptor
        return
    if name.startswith(_NOT_KEPT) or name.endswith(".pyc") or name in FILES:
        return
    if _counts(_asking()):
        FILES.add(name)


class _Watched(type(os.environ)):  # type: ignore[misc]
    """The environment, with a note of each variable that is looked up."""

    def __getitem__(self, key: Any) -> Any:
        if key not in VARIABLES:
            asking = _asking()
            if _is_the_users(asking) if key in _WHERE_FROM else _counts(asking):
                VARIABLES.add(str(key))
        return super().__getitem__(key)

    def __iter__(self) -> Iterator[Any]:
        if _is_the_users(_asking()):
            VARIABLES.update(self.decodekey(key) for key in list(self._data))
            UNTRACED.add("os.environ")
        return iter(super().__iter__())


def _asking() -> FrameType | None:
    """The innermost frame that is neither the standard library's nor this module's."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        is_standard = file.startswith(_STANDARD) and "site-packages" not in file
        if file != __file__ and not file.startswith("<frozen") and not is_standard:
            return frame
        frame = frame.f_back
    return None


def _counts(frame: FrameType | None) -> bool:
    """Whether what a frame reads may change a result: the probes' own files and torch's are known by other marks."""
    if frame is None or places.is_ours(frame.f_code.co_filename):
        return False
    return f"{os.sep}torch{os.sep}" not in frame.f_code.co_filename


def _is_the_users(frame: FrameType | None) -> bool:
    """Whether a frame is of code that no distribution owns."""
    if frame is None or places.is_ours(frame.f_code.co_filename):
        return False
    return places.owner(os.path.abspath(frame.f_code.co_filename)) == ("", "")
