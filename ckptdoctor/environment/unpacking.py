"""Source archives, unpacked into a folder that goes with the run."""

from __future__ import annotations

import platform
import tarfile
import zipfile
from pathlib import Path

from ckptdoctor.environment.snapshots import LARGEST
from ckptdoctor.errors import UsageFault


def unpacked(archive: Path, into: Path) -> Path:
    """The folder of a project that an archive holds.

    Args:
        archive: ``.tar.gz`` or ``.zip``.
        into: An empty folder.

    Raises:
        UsageFault: It cannot be unpacked, is too large, or would write outside of the folder.
    """
    folder = into / "unpacked"
    folder.mkdir()
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as zipped:
                _require_small(archive, sum(info.file_size for info in zipped.infolist()))
                zipped.extractall(folder)  # noqa: S202 - it leaves out what leads outside
        elif not hasattr(tarfile, "data_filter"):
            raise UsageFault(
                f"{archive.name} cannot be unpacked safely by Python {platform.python_version()}.",
                "unpack it, and name the folder",
            )
        else:
            with tarfile.open(archive) as packed:
                _require_small(archive, sum(member.size for member in packed.getmembers()))
                packed.extractall(folder, filter="data")
    except (OSError, EOFError, ValueError, RuntimeError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise UsageFault(f"{archive.name} cannot be unpacked: {error}.", "download or build it again") from error
    inside = list(folder.iterdir())
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else folder


def _require_small(archive: Path, size: int) -> None:
    if size > LARGEST:
        raise UsageFault(
            f"{archive.name} holds more than {LARGEST // 10**9} GB.", "build a wheel, and name that instead"
        )
