"""JSON Schemas, made from the types that a format prints."""

from __future__ import annotations

from typing import Any

import msgspec


def of(kind: type, name: str, title: str) -> dict[str, Any]:
    """The schema of a type.

    Args:
        kind: The type at the root.
        name: What its field ``schema`` holds, the version of the format.
        title: For people.
    """
    (reference,), definitions = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    root = definitions.pop(reference["$ref"].rpartition("/")[2])
    root["properties"]["schema"] = {"const": name}
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": name}
    return {**head, **root, "title": title, "$defs": definitions}
