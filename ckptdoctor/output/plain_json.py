"""JSON that is safe to show on a terminal, and the schemas of what is printed as JSON."""

from __future__ import annotations

from typing import Any

import msgspec

from ckptdoctor.model.encoding import encode
from ckptdoctor.words.escape import in_json


def indented(value: Any) -> str:
    """Plain data as JSON that acts on no terminal it is shown on."""
    return in_json(msgspec.json.format(encode(value), indent=2).decode()) + "\n"


def schema_of(type_: type, name: str, title: str) -> dict[str, Any]:
    """The JSON Schema of a type.

    Args:
        type_: The type at the root.
        name: What its field ``schema`` holds, the version of the format.
        title: For people.
    """
    (reference,), definitions = msgspec.json.schema_components([type_], ref_template="#/$defs/{name}")
    root = definitions.pop(reference["$ref"].rpartition("/")[2])
    root["properties"]["schema"] = {"const": name}
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": name}
    found: dict[str, Any] = _in_order({**head, **root, "title": title, "$defs": definitions})
    return found


def _in_order(part: Any) -> Any:
    """The same with alternatives in an order of their own: Python's versions differ in the order of a union's types."""
    if isinstance(part, dict):
        whole = {name: _in_order(value) for name, value in part.items()}
        if "anyOf" in whole:
            whole["anyOf"].sort(key=lambda one: (one == {"type": "null"}, str(one)))
        return whole
    return [_in_order(one) for one in part] if isinstance(part, (list, tuple)) else part
