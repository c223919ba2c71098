"""What installers recorded of the files of a distribution."""

from __future__ import annotations

import base64
import csv
import hashlib
import importlib.metadata
from pathlib import Path


def of(distribution: importlib.metadata.Distribution) -> dict[str, str]:
    """SHA-256 of each file as the installer recorded it, by its path in the folder of packages; base64 without padding.

    ``Distribution.files`` says the same, and takes a tenth of a second for the thousands of files of transformers.
    """
    rows = csv.reader((distribution.read_text("RECORD") or "").splitlines())
    return {row[0]: row[1].removeprefix("sha256=") for row in rows if len(row) > 1 and row[1].startswith("sha256=")}


def digest(file: Path) -> str:
    """A file's SHA-256 in the same form; empty if it cannot be read."""
    try:
        return base64.urlsafe_b64encode(hashlib.sha256(file.read_bytes()).digest()).rstrip(b"=").decode()
    except OSError:
        return ""
