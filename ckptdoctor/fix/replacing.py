"""Replaces a file whole or not at all, whenever the work is cut off, and removes what Python compiled of it."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from contextlib import suppress
from pathlib import Path

from ckptdoctor.errors import UsageFault


def temporary_name(file: Path) -> Path:
    """Where a file is written before it takes the place of another."""
    return file.with_name(f".{file.name}.ckptdoctor-{secrets.token_hex(8)}.tmp")


def put(file: Path, path: Path, content: bytes, mode: int, mtime_ns: int | None = None) -> None:
    """Write a file beside the patched one, or itself: whole or not at all, and always a new inode.

    Other names of the old inode, such as a package cache's hard link, keep the old content.
    """
    temporary = temporary_name(file)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            _own(handle, file)
            os.fchmod(handle, mode)
            if mtime_ns is not None:
                os.utime(handle, ns=(mtime_ns, mtime_ns))
            os.fsync(handle)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


def put_link(file: Path, link: str) -> None:
    """Make a file a symbolic link, whole or not at all."""
    temporary = temporary_name(file)
    temporary.symlink_to(link)
    temporary.replace(file)
    sync(file.parent)


def _own(handle: int, file: Path) -> None:
    """Root leaves the file to whom it belonged."""
    if os.geteuid() == 0:
        with suppress(OSError):
            status = (file if file.exists() else file.parent).stat()
            os.fchown(handle, status.st_uid, status.st_gid)


def sync(folder: Path) -> None:
    """Have a folder's entries on disk."""
    # Some network file systems sync files and no folders.
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def read(file: Path) -> bytes | None:
    """The bytes of a file; nothing where it cannot be read."""
    try:
        return file.read_bytes()
    except OSError:
        return None


def digest(content: bytes | None) -> str:
    """SHA-256 in hexadecimal digits; empty for nothing."""
    return "" if content is None else hashlib.sha256(content).hexdigest()


def forget_bytecode(file: Path) -> None:
    """Remove the compiled forms of a module, which Python makes anew.

    Raises:
        UsageFault: One stays that Python would take without a look at the source.
    """
    compiled = re.compile(re.escape(file.stem) + r"\.[^.]+(\.opt-[^.]+)?\.pyc")
    folder = file.parent / "__pycache__"
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    for path in (path for path in found if compiled.fullmatch(path.name)):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            if _is_unchecked(path):
                raise UsageFault(
                    f"{path} cannot be removed, and Python would run it in place of the new source.",
                    "make that folder writable",
                ) from error


def _is_unchecked(pyc: Path) -> bool:
    """Whether it is told by a hash that nobody checks (PEP 552); what cannot be read may be."""
    header = (read(pyc) or b"")[4:8]
    return len(header) < 4 or int.from_bytes(header, "little") & 0b11 == 0b01
