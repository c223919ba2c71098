"""The file that a bug report is packed into."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

from ckptdoctor.errors import UsageFault
from ckptdoctor.store import writing

_EPOCH = (1980, 1, 1, 0, 0, 0)


def require_place(output: str, force: bool) -> Path:
    """The file to write to; it is checked before anything is run.

    Args:
        output: As the user gave it.
        force: Whether a file that is there may be replaced.

    Raises:
        UsageFault: It cannot be written there.
    """
    path = Path(output)
    if path.is_dir() or output.endswith(("/", os.sep)):
        raise UsageFault(f"{output} is a folder.", "give --output a file, such as ckptdoctor-report.zip")
    if path.suffix.lower() != ".zip":
        raise UsageFault(f"{output} is not a .zip file.", f"issue trackers take zip files: --output {output}.zip")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise UsageFault(f"{output} cannot be written.", "choose another --output")
    if os.path.lexists(path) and (not force or not path.is_file()):
        raise UsageFault(f"{output} is there already.", "choose another --output, or replace it with --force")
    return path


def write(members: Mapping[str, str], path: Path, force: bool) -> None:
    """Pack files into a zip file, whole or not at all.

    Args:
        members: Contents by file name, in the order in which they are packed.
        path: Where to.
        force: Whether a file that is there may be replaced.

    Raises:
        UsageFault: It cannot be written.
    """
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, text.encode("utf-8", "backslashreplace"))
    if not force and os.path.lexists(path):
        raise UsageFault(f"{path} is there already.", "choose another --output, or replace it with --force")
    writing.write(path, content.getvalue())
