"""Writes a patched file into an environment, and takes it back. One file, since the order of its steps is its safety.

Beside the file are its original, byte for byte, and a record. They come before the file is replaced and go after it was
restored, the record last: whenever the work is cut off, the file is wholly the old or wholly the new one, and the new one
can be taken back.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import msgspec

from ckptdoctor.errors import UsageFault
from ckptdoctor.fix import installed
from ckptdoctor.fix.replacing import digest, forget_bytecode, put, put_link, read, sync
from ckptdoctor.fix.whose_file import is_below, require_own, require_unchanged
from ckptdoctor.model.version import __version__

SCHEMA = "ckptdoctor/patch/1"
RECORD = ".ckptdoctor.json"
ORIGINAL = ".ckptdoctor-original"
REVERT = "ckptdoctor fix --revert"
PATIENCE = 60.0
"""Seconds to wait for another process that changes files in the same folder."""
LEFT_OVER = re.compile(r"\..+\.ckptdoctor-[0-9a-f]{16}\.tmp")
"""What a kill leaves half written."""


@dataclass(frozen=True)
class Patch:
    """A file of the target, and its new text."""

    file: Path
    """The file as it was diagnosed."""
    original: bytes
    """Its bytes when it was diagnosed."""
    patched: bytes
    prefix: Path
    """``sys.prefix`` of the target."""
    overlay: Path | None
    """An overlay that was added to the target for the diagnosis, if any."""
    why: str
    """What it fixes, one line."""


class Applied(msgspec.Struct):
    """The record of a patch, kept beside the file as ``<name>.ckptdoctor.json``."""

    schema: str
    version: str
    """Of ckptdoctor."""
    date: str
    """ISO 8601, UTC."""
    file: str
    """Its name alone: environments are moved."""
    original_sha256: str
    patched_sha256: str
    mode: int
    """Permissions of the original."""
    mtime_ns: int
    """When the original was last changed."""
    why: str
    link: str = ""
    """What the original pointed to, when it was a symbolic link."""
    package: str = ""
    """The release that the original is of, ``name==version``, where an installer put it there."""


def apply(patch: Patch, force: bool = False) -> Applied:
    """Replace the diagnosed file with the patched one.

    Args:
        patch: The file and its new content.
        force: Patch also what has changes that git does not know, and what others may use.

    Returns:
        The record that was left beside the file.

    Raises:
        UsageFault: The file is not to be touched, or cannot be written; it is as it was.
    """
    file = patch.file
    with _locked(file.parent):
        _require_patchable(patch, force)
        with _complaints(file):
            return _apply(patch)


def _apply(patch: Patch) -> Applied:
    file = patch.file
    record = _describe(patch)
    _sweep(file)
    # An unchecked pyc would hide the patch: gone before the patch is there, so that no kill can leave the two together.
    forget_bytecode(file)
    try:
        _write(patch, record)
    except BaseException:
        if state(file) is None:
            with suppress(OSError):
                _clean(file)
        raise
    with suppress(UsageFault):  # a program may have compiled the old source meanwhile; Python sees that it is old
        forget_bytecode(file)
    return record


def revert(file: Path, force: bool = False) -> Applied:
    """Put the original back, with its permissions and the time of its last change.

    Args:
        file: The file that was patched.
        force: Put it back even when the file was changed since.

    Returns:
        The record, which is gone now.

    Raises:
        UsageFault: There is nothing to take back, or no original to put back; the file is as it was.
    """
    with _locked(file.parent), _complaints(file):
        _sweep(file)
        record = _read_record(file)
        if record is None:
            _drop_orphan(file)
            raise UsageFault(f"{file} carries no record of a patch.", "name a file that ckptdoctor fix has patched")
        _require_writable(file)
        now = digest(read(file))
        if not _is_installed_anew(file, record, now):
            if now == record.patched_sha256 or (force and now != record.original_sha256):
                _restore(file, record)
            elif now != record.original_sha256:
                raise UsageFault(
                    f"{file} was changed since it was patched.",
                    "keep it as it is, or restore the original with --force",
                )
        _clean(file)
    return record


def _is_installed_anew(file: Path, record: Applied, now: str) -> bool:
    """Whether an installer has replaced the patched file, so that there is nothing left to restore.

    Raises:
        UsageFault: It is another release's by now, and was changed: the original that was kept does not belong there.
    """
    owner = installed.owner(file)
    if owner is None:
        return False
    if now == owner.sha256:
        return True
    if record.package and owner.package != record.package and now != record.patched_sha256:
        raise UsageFault(
            f"{file} is of {owner.package} by now and was changed, and the original that was kept is of {record.package}.",
            f"install {owner.package} again, then `{REVERT}` removes what was kept",
        )
    return False


def applied_in(folder: Path) -> list[Path]:
    """The files under a folder that have a record, even if they changed since; links are not followed."""
    found = []
    for place, _, names in os.walk(folder):
        for name in names:
            file = Path(place, name.removesuffix(RECORD))
            is_record = name.endswith(RECORD) and name != RECORD and not Path(place, name).is_symlink()
            if is_record and _read_record(file):
                found.append(file)
    return sorted(found)


def sweep(folder: Path) -> None:
    """Remove, anywhere under a folder, what a kill has left half written; links are not followed."""
    for place, _, names in os.walk(folder):
        if any(LEFT_OVER.fullmatch(name) for name in names):
            with suppress(OSError, UsageFault), _locked(Path(place)):
                for name in filter(LEFT_OVER.fullmatch, names):
                    Path(place, name).unlink(missing_ok=True)


def state(file: Path) -> Applied | None:
    """The record of a file that is, right now, the patched one."""
    record = _read_record(file)
    return record if record and digest(read(file)) == record.patched_sha256 else None


# -- what is refused --------------------------------------------------------------------------------------------------


def _require_patchable(patch: Patch, force: bool) -> None:
    file = patch.file
    if state(file):
        raise UsageFault(f"{file} is patched already.", f"take the patch back first: {REVERT}")
    # An overlay's packages may themselves be links into a cache: what is found by way of it counts as its own.
    if patch.overlay is not None and (is_below(file, patch.overlay) or file.is_relative_to(patch.overlay)):
        raise UsageFault(
            f"{file} comes from the overlay, which is not part of the environment.",
            "leave out --with, or install that release first",
        )
    if read(file) != patch.original:
        raise UsageFault(f"{file} is not the file that was diagnosed.", "run ckptdoctor fix again")
    _require_writable(file)
    if not force:
        require_unchanged(file)
        require_own(file, patch.prefix)


def _require_writable(file: Path) -> None:
    # What a link points to is never written, so it may well be read-only.
    is_closed = file.exists() and not file.is_symlink() and not os.access(file, os.W_OK)
    if is_closed or not os.access(file.parent, os.W_OK | os.X_OK):
        what = "is" if is_closed else "lies in a folder that is"
        raise UsageFault(f"{file} {what} not writable.", "run it as the user who owns the environment")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One at a time in a folder: no lock file is left, and the kernel ends the lock with its process."""
    import fcntl

    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:  # what is wrong with it is said where it is used
        yield
        return
    try:
        for _ in range(int(PATIENCE / 0.1)):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.1)
            except OSError:  # a file system without locks
                break
        else:
            raise UsageFault(f"Another process changes files in {folder}.", "wait until it has ended")
        yield
    finally:
        os.close(handle)


@contextmanager
def _complaints(file: Path) -> Iterator[None]:
    """What the file system refuses is a sentence, not a traceback."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise UsageFault(f"{file} cannot be replaced: {reason}.", "make its folder writable, with room left") from error


# -- writing ----------------------------------------------------------------------------------------------------------


def _describe(patch: Patch) -> Applied:
    status = patch.file.stat()
    return Applied(
        schema=SCHEMA,
        version=__version__,
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        file=patch.file.name,
        original_sha256=digest(patch.original),
        patched_sha256=digest(patch.patched),
        mode=stat.S_IMODE(status.st_mode),
        mtime_ns=status.st_mtime_ns,
        why=patch.why,
        package=owner.package if (owner := installed.owner(patch.file)) else "",
        link=str(patch.file.readlink()) if patch.file.is_symlink() else "",
    )


def _write(patch: Patch, record: Applied) -> None:
    """The original, the record, the file: in this order, each whole and on disk before the next."""
    file = patch.file
    # The record of an earlier patch, which a newly installed file has replaced, says nothing about this original.
    _clean(file)
    plain = record.mode & 0o666
    _list(file, True)
    put(file, _beside(file, ORIGINAL), patch.original, plain)
    put(file, _beside(file, RECORD), msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n", plain)
    put(file, file, patch.patched, record.mode, _another_second(record.mtime_ns))


def _another_second(mtime_ns: int) -> int:
    """Now, but not the second of the original's last change.

    Python matches bytecode by second and size. Some cannot be found (``PYTHONPYCACHEPREFIX``) or removed.
    """
    now = int(datetime.now(timezone.utc).timestamp() * 10**9)
    return now + 10**9 if now // 10**9 == mtime_ns // 10**9 else now


def _restore(file: Path, record: Applied) -> None:
    original = read(_beside(file, ORIGINAL))
    if original is None or digest(original) != record.original_sha256:
        what = "is missing" if original is None else "was changed"
        raise UsageFault(f"The original of {file} that was kept {what}.", "install the package again")
    forget_bytecode(file)
    # A link that leads nowhere by now would leave the environment without the file.
    if record.link and (file.parent / record.link).is_file():
        put_link(file, record.link)
    else:
        put(file, file, original, record.mode, record.mtime_ns)
    with suppress(UsageFault):
        forget_bytecode(file)


# -- the files beside a patched file ----------------------------------------------------------------------------------


def _beside(file: Path, suffix: str) -> Path:
    return file.with_name(file.name + suffix)


def _sweep(file: Path) -> None:
    """Remove what a kill has left half written."""
    for path in sorted(file.parent.iterdir()) if file.parent.is_dir() else ():
        if LEFT_OVER.fullmatch(path.name) and path.name.startswith(f".{file.name}.ckptdoctor-"):
            path.unlink(missing_ok=True)


def _clean(file: Path) -> None:
    """Remove what was kept; the record last, since what it names is found by it."""
    for suffix in (ORIGINAL, RECORD):
        _beside(file, suffix).unlink(missing_ok=True)
        sync(file.parent)
    _list(file, False)


def _list(file: Path, is_kept: bool) -> None:
    """Add the files beside a patched file to the installer's list, so that they are removed with the package."""
    owner = installed.owner(file)
    if owner is None:
        return
    # Where it cannot be written, what is kept outlives an uninstallation.
    with suppress(OSError):
        _sweep(owner.record)
        status, old = owner.record.stat(), owner.record.read_bytes()
        new = installed.listing(old, owner.name, (ORIGINAL, RECORD) if is_kept else (), (ORIGINAL, RECORD))
        if new != old:
            put(owner.record, owner.record, new, stat.S_IMODE(status.st_mode), status.st_mtime_ns)


def _drop_orphan(file: Path) -> None:
    """An original without a record: a kill came between the two, if it is what the file holds."""
    kept = read(_beside(file, ORIGINAL))
    if kept is not None and kept == read(file):
        _clean(file)


def _read_record(file: Path) -> Applied | None:
    content = read(_beside(file, RECORD))
    try:
        record = msgspec.json.decode(content or b"", type=Applied)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return record if record.schema == SCHEMA else None
