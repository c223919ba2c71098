"""What a scan found, as JSON, and the schema that it keeps to."""

from __future__ import annotations

from typing import Any

from ckptdoctor.model.scan import SCHEMA, Scan
from ckptdoctor.output import Style
from ckptdoctor.output.plain_json import indented, schema_of


def render(found: Scan, style: Style) -> str:
    """Prints a scan as indented JSON; ``style`` is ignored."""
    return indented(found)


def schema() -> dict[str, Any]:
    """The JSON Schema of a scan, made from its types."""
    return schema_of(Scan, SCHEMA, "A ckptdoctor scan")


def schema_text() -> str:
    """The schema as it is shipped in ``scan.schema.json``."""
    return indented(schema())
