"""The map as JSON, for machines, and the schema that it keeps to."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from ckptdoctor.compatibility import SCHEMA, Map
from ckptdoctor.output import Style
from ckptdoctor.output.escape import is_safe


def render(found: Map, style: Style) -> str:
    """Prints a map as JSON, a run or a cell a line; ``style`` has no say in it."""
    fields = [f"{_value(name)}: {_field(getattr(found, name))}" for name in found.__struct_fields__]
    return _inert("{\n" + ",\n".join(fields) + "\n}\n")


def _field(value: Any) -> str:
    if not isinstance(value, list) or not value:
        return _value(value)
    return "[\n" + ",\n".join(f"  {_value(item)}" for item in value) + "\n]"


def _value(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def schema() -> dict[str, Any]:
    """The JSON Schema of a map, made from its types."""
    (reference,), definitions = msgspec.json.schema_components([Map], ref_template="#/$defs/{name}")
    root = definitions.pop(reference["$ref"].rpartition("/")[2])
    root["properties"]["schema"] = {"const": SCHEMA}
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA}
    return {**head, **root, "title": "A ckptdoctor map", "$defs": definitions}


def schema_text() -> str:
    """The schema as it is shipped in ``map.schema.json``."""
    return _inert(msgspec.json.format(msgspec.json.encode(schema()), indent=2).decode() + "\n")


def _inert(text: str) -> str:
    # JSON lets C1 controls and bidi overrides stand in strings; they must not act on the terminal it is shown on.
    return "".join(char if is_safe(char) else json.dumps(char)[1:-1] for char in text)
