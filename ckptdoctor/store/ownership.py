"""Whether a file is the user's alone: what another user may write decides nothing here, and is never run."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from pathlib import Path


def foreign(path: Path | int) -> str:
    """Why a file or a folder is not the user's alone.

    Args:
        path: Its path, or its descriptor; a symbolic link is judged by itself and by what it points to.

    Returns:
        The end of a sentence, such as "it belongs to nobody"; empty if only the user and root may change it.

    Raises:
        OSError: It is not there, or cannot be looked at.
    """
    if isinstance(path, Path) and path.is_symlink() and not is_trusted(owner := path.lstat().st_uid):
        return f"it is a link that belongs to {_user(owner)}"
    status = os.stat(path)  # noqa: PTH116 - or a descriptor
    if not is_trusted(status.st_uid):
        return f"it belongs to {_user(status.st_uid)}"
    if status.st_mode & stat.S_IWOTH:
        return "every user may write it"
    if status.st_mode & stat.S_IWGRP and not _is_private(status.st_gid):
        return f"its group {_group(status.st_gid)} may write it"
    return ""


def is_trusted(uid: int) -> bool:
    """Whether a user is the one who runs this, or root."""
    return uid in (os.geteuid(), 0)


def _is_private(gid: int) -> bool:
    """Whether a group has no member but the user: many systems give each user one, and let it write."""
    if gid == 0:
        return True
    try:
        user, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(gid)
    except KeyError:
        return False
    return group.gr_name == user and set(group.gr_mem) <= {user}


def _user(uid: int) -> str:
    try:
        return f"the user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"the user {uid}"


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
