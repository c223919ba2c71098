"""For machines: all that changed, as ``impact.schema.json`` describes it."""

from __future__ import annotations

from typing import Any

from ckptdoctor.model.impact import SCHEMA, Impact
from ckptdoctor.output import Style
from ckptdoctor.output.plain_json import indented, schema_of


def render(found: Impact, style: Style) -> str:
    """Prints an impact as indented JSON; ``style`` is ignored."""
    return indented(found)


def schema() -> dict[str, Any]:
    """The JSON Schema of an impact, made from its types."""
    return schema_of(Impact, SCHEMA, "A ckptdoctor impact")


def schema_text() -> str:
    """The schema as it is shipped in ``impact.schema.json``."""
    return indented(schema())
