"""What a bisection found, as JSON, and the schema that it keeps to."""

from __future__ import annotations

from typing import Any

from ckptdoctor.model.compatibility import BISECTION, Bisection
from ckptdoctor.output import Style
from ckptdoctor.output.plain_json import indented, schema_of


def render(found: Bisection, style: Style) -> str:
    """Prints a bisection as indented JSON; ``style`` is ignored."""
    return indented(found)


def schema() -> dict[str, Any]:
    """The JSON Schema of a bisection, made from its types."""
    return schema_of(Bisection, BISECTION, "A ckptdoctor bisection")


def schema_text() -> str:
    """The schema as it is shipped in ``bisection.schema.json``."""
    return indented(schema())
