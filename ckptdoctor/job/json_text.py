"""Settings in JSON."""

from __future__ import annotations

import json
import re
from typing import Any

from ckptdoctor.errors import UsageFault
from ckptdoctor.job.settings_text import StrictFault, key_shown, mapping

_STRING = r'(?P<string>"(?:\\.|[^"\\])*")'

_COMMENT = re.compile(rf"{_STRING}|(?://|#)[^\n]*|/\*.*?\*/", re.DOTALL)

_TRAILING_COMMA = re.compile(rf"{_STRING}|,(?=\s*[}}\]])")
"""Strings are matched first, so that nothing in one is taken for a comment or a comma."""


def parse_json(text: str, path: str) -> dict[str, Any]:
    """The object that a JSON text holds.

    Raises:
        UsageFault: It is not valid JSON, or not an object.
    """
    try:
        values = json.loads(text, object_pairs_hook=_without_duplicates)
    except json.JSONDecodeError as error:
        message = f"{path} is not valid JSON: {_first_down(error.msg)} (line {error.lineno}, column {error.colno})."
        hint = "remove comments and trailing commas: trainers read JSON strictly"
        relaxed = _with_comments(text)
        raise (
            UsageFault(message, hint) if relaxed is None else StrictFault(message, hint, relaxed, is_json=True)
        ) from error
    except _DuplicateKeyError as error:
        raise UsageFault(f"{path} has {key_shown(error.args[0])} twice in one object.", "keep one of them") from error
    except (ValueError, RecursionError) as error:
        raise UsageFault(
            f"{path} has a number or a nesting beyond the limits of JSON readers.", "give a training job"
        ) from error
    return mapping(values, path)


def _with_comments(text: str) -> dict[str, Any] | None:
    """The object in JSON with comments and trailing commas; nothing if the text is not such JSON."""
    bare = _COMMENT.sub(lambda found: found["string"] or " ", text)
    plain = _TRAILING_COMMA.sub(lambda found: found["string"] or "", bare)
    try:
        values = json.loads(plain, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError, _DuplicateKeyError):
        return None
    return values if isinstance(values, dict) else None


class _DuplicateKeyError(Exception):
    """An object of JSON has a key twice."""


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _DuplicateKeyError(key)
        found[key] = value
    return found


def _first_down(text: str) -> str:
    return text[:1].lower() + text[1:]
