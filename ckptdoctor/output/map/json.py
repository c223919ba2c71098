"""The map as JSON, for machines, and the schema that it keeps to."""

from __future__ import annotations

from typing import Any

from ckptdoctor.model.compatibility import SCHEMA, Map
from ckptdoctor.model.encoding import encode
from ckptdoctor.output import Style
from ckptdoctor.output.plain_json import indented, schema_of
from ckptdoctor.words.escape import in_json


def render(found: Map, style: Style) -> str:
    """Prints a map as JSON, a run or a cell a line; ``style`` is ignored."""
    fields = [f"{_value(name)}: {_field(getattr(found, name))}" for name in found.__struct_fields__]
    return in_json("{\n" + ",\n".join(fields) + "\n}\n")


def _field(value: Any) -> str:
    if not isinstance(value, list) or not value:
        return _value(value)
    return "[\n" + ",\n".join(f"  {_value(item)}" for item in value) + "\n]"


def _value(value: Any) -> str:
    return encode(value).decode()


def schema() -> dict[str, Any]:
    """The JSON Schema of a map, made from its types."""
    return schema_of(Map, SCHEMA, "A ckptdoctor map")


def schema_text() -> str:
    """The schema as it is shipped in ``map.schema.json``."""
    return indented(schema())
