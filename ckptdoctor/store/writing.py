"""Files are written whole or not at all: those that the user names, and our own."""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from ckptdoctor.errors import UsageFault
from ckptdoctor.store.ownership import is_trusted

UNFINISHED = r"\.ckptdoctor-[0-9a-f]{16}\.tmp"
"""What a file is called until it is whole; one that stays is of a process that was killed."""
LINKS = 40
"""As many links as Linux follows."""


def write(path: str | Path, content: bytes, option: str = "--output") -> None:
    """Write a file.

    A new file gets the permissions that the umask leaves, one that is replaced keeps its own. Links are followed. Devices
    and pipes are written to.

    Args:
        path: Where to.
        content: All of it.
        option: The option that named the path, for the hint.

    Raises:
        UsageFault: It cannot be written, and is as it was.
    """
    try:
        target = _followed(Path(path))
        if target is None:
            _pour(Path(path), content)
        else:
            _replace(target, content)
    except OSError as error:
        raise _fault(path, error.strerror or str(error), option) from error


def keep(path: Path, content: bytes) -> None:
    """Write a file of our own, and the folders that it needs.

    Raises:
        OSError: It cannot be written, and is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _replace(path, content)


def require_writable(path: str | Path | None, option: str = "--output") -> None:
    """Fail before anything is run if its result could not be written.

    Raises:
        UsageFault: The file, or the folder that it is to be made in, is not there or not writable.
    """
    if not path:
        return
    try:
        target = _followed(Path(path))
    except OSError as error:
        raise _fault(path, error.strerror or str(error), option) from error
    place = target or Path(path)
    folder = place.parent
    if place.is_dir() or (place.exists() and not os.access(place, os.W_OK)):
        raise _fault(path, "it is a folder" if place.is_dir() else "it is read-only", option)
    if target and not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        raise _fault(path, "its folder does not exist or is not writable", option)


def _fault(path: str | Path, why: str, option: str) -> UsageFault:
    return UsageFault(f"{path} cannot be written: {why}.", f"choose another {option}")


def _followed(path: Path) -> Path | None:
    """The regular file that a path leads to, there or not yet; nothing for what is written to as it is.

    Raises:
        OSError: A link of another user's leads there, or it is a disk.
    """
    for _ in range(LINKS):
        if path.is_symlink():
            if path.is_relative_to("/proc") or path.is_relative_to("/dev/fd"):  # an open file under any name
                return None
            if not is_trusted(path.lstat().st_uid):  # in a shared folder, it would choose what is overwritten
                raise OSError(0, "it is a link that belongs to another user")
            path = path.parent / path.readlink()
        elif not path.exists() or path.is_dir() or path.is_file():
            return path
        elif path.is_block_device():
            raise OSError(0, "it is a disk")
        else:
            return None
    raise OSError(0, "it is a link to itself")


def _pour(path: Path, content: bytes) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND), "wb") as file:
        file.write(content)


def _replace(path: Path, content: bytes) -> None:
    there = path.stat() if path.exists() else None
    temporary = path.with_name(f".ckptdoctor-{secrets.token_hex(8)}.tmp")
    # What the umask takes from a new file is not known but by making one.
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if there else 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            if there:
                with suppress(OSError):  # only root gives files away
                    os.fchown(handle, there.st_uid, there.st_gid)
                os.fchmod(handle, stat.S_IMODE(there.st_mode) & 0o777)
            file.write(content)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
