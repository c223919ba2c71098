"""JSON of values that hold any text: file names and messages need not be Unicode."""

from __future__ import annotations

import json
from typing import Any

import msgspec


def encode(value: Any) -> bytes:
    r"""A value as JSON; a lone surrogate, as in an undecodable file name, becomes visible text such as ``\udcff``."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return msgspec.json.encode(_visible(msgspec.to_builtins(value, str_keys=True)))


def encode_exactly(value: Any) -> bytes:
    """The same for Python's own reader, which gets back the very same text: for names of files that must be found again."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return json.dumps(msgspec.to_builtins(value, str_keys=True), separators=(",", ":")).encode()


def _visible(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, (list, tuple)):
        return [_visible(item) for item in value]
    if isinstance(value, dict):
        return {_visible(key): _visible(item) for key, item in value.items()}
    return value
