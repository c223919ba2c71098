"""What an installer knows of a file: the release that it is of, and what it was (``RECORD`` of a wheel, PEP 376)."""

from __future__ import annotations

import base64
import binascii
import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple


class Owner(NamedTuple):
    """The release that a file belongs to."""

    package: str
    """As ``name==version``."""
    record: Path
    """The installer's list of the release's files."""
    name: str
    """The file's name in that list."""
    sha256: str
    """Of the file as it was installed; empty if the list does not say."""


def owner(file: Path) -> Owner | None:
    """The release that an installer put a file there with, or nothing."""
    for root in file.parents:
        for record in sorted(root.glob("*.dist-info/RECORD")):
            for row in _rows(record):
                if row and row[0] == file.relative_to(root).as_posix():
                    name, _, version = record.parent.name.removesuffix(".dist-info").partition("-")
                    return Owner(f"{name}=={version}", record, row[0], _sha256(row[1] if len(row) > 1 else ""))
    return None


def _rows(record: Path) -> list[list[str]]:
    try:
        with record.open(encoding="utf-8", newline="") as stream:
            return list(csv.reader(stream))
    except (OSError, UnicodeDecodeError, csv.Error):
        return []


def _sha256(text: str) -> str:
    kind, _, digest = text.partition("=")
    try:
        return base64.urlsafe_b64decode(f"{digest}===").hex() if kind == "sha256" else ""
    except binascii.Error:
        return ""


def listing(record: bytes, name: str, listed: Sequence[str], known: Sequence[str]) -> bytes:
    """A list of files, with the files beside one of them.

    Args:
        record: The list as it is.
        name: The file's name in it.
        listed: Endings of the names that are to be in it.
        known: Endings of all names that may have been added before.

    Returns:
        The list, byte for byte what it was but for these lines, which come last.
    """
    rows = [",".join([_quoted(f"{name}{ending}"), "", ""]).encode() for ending in known]
    lines = [line for line in record.splitlines(keepends=True) if line.strip() not in rows]
    ending = b"\r\n" if record.splitlines(keepends=True)[:1] and lines[0].endswith(b"\r\n") else b"\n"
    rest = b"".join(lines)
    if not listed or not rest.endswith(b"\n"):
        return rest
    return rest + b"".join(row + ending for row, one in zip(rows, known, strict=True) if one in listed)


def _quoted(text: str) -> str:
    return '"{}"'.format(text.replace('"', '""')) if set(text) & set(',"') else text
