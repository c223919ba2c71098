"""Values that cannot be changed, as they would be with a change."""

from __future__ import annotations

import re
from typing import Any

import msgspec


def changed(value: Any, path: str, new: Any) -> Any:
    """A copy in which something deep inside is another: ``changed(report, "findings[0].culprit", None)``."""
    if not path:
        return new
    step, rest = re.match(r"\.?(\w+|\[\d+\])(.*)", path).groups()
    if step.startswith("["):
        at = int(step[1:-1])
        return (*value[:at], changed(value[at], rest, new), *value[at + 1 :])
    made = changed(getattr(value, step), rest, new)
    return msgspec.structs.replace(value, **{step: tuple(made) if isinstance(made, list) else made})


def frozen(value: Any) -> Any:
    """The same as it comes out of JSON: what a test gave as a list is a tuple."""
    return msgspec.convert(msgspec.to_builtins(value), type(value), strict=False)
