"""All strings of a structure at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import msgspec

T = TypeVar("T")


def mapped(value: T, change: Callable[[str], str]) -> T:
    """A copy of a structure with every string changed: in its fields, lists, and the keys and values of its mappings."""
    return cast("T", _mapped(value, change))


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, (list, tuple)):
        return type(value)(_mapped(item, change) for item in value)
    if isinstance(value, dict):
        return {_mapped(key, change): _mapped(item, change) for key, item in value.items()}
    if isinstance(value, msgspec.Struct):
        fields = {name: _mapped(getattr(value, name), change) for name in value.__struct_fields__}
        return msgspec.structs.replace(value, **fields)
    return value
