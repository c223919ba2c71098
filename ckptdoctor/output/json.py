"""The report as JSON, for machines, and the schema that it keeps to."""

from __future__ import annotations

from typing import Any

import msgspec

from ckptdoctor.output import Style
from ckptdoctor.output.escape import is_safe
from ckptdoctor.report import SCHEMA, Report


def render(report: Report, style: Style) -> str:
    """Prints a report as indented JSON; ``style`` has no say in it."""
    return indented(report)


def schema() -> dict[str, Any]:
    """The JSON Schema of a report, made from its types."""
    (reference,), definitions = msgspec.json.schema_components([Report], ref_template="#/$defs/{name}")
    root = definitions.pop(reference["$ref"].rpartition("/")[2])
    root["properties"]["schema"] = {"const": SCHEMA}
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": SCHEMA}
    return {**head, **root, "title": "A ckptdoctor report", "$defs": definitions}


def schema_text() -> str:
    """The schema as it is shipped in ``report.schema.json``."""
    return indented(schema())


def indented(value: Any) -> str:
    """Plain data as JSON that acts on no terminal it is shown on."""
    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    # JSON lets C1 controls and bidi overrides stand in strings; they must not act on the terminal it is shown on.
    return "".join(char if is_safe(char) else _unit_escapes(char) for char in text) + "\n"


def _unit_escapes(char: str) -> str:
    units = char.encode("utf-16-be").hex(" ", 2).split()
    return "".join(f"\\u{unit}" for unit in units)
