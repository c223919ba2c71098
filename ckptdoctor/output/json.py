"""The report as JSON, for machines, and the schema that it keeps to."""

from __future__ import annotations

from typing import Any

import msgspec

from ckptdoctor.model.encoding import encode
from ckptdoctor.model.report import SCHEMA, Report
from ckptdoctor.output import Style
from ckptdoctor.output.schema import of
from ckptdoctor.words.escape import in_json


def render(report: Report, style: Style) -> str:
    """Prints a report as indented JSON; ``style`` has no say in it."""
    return indented(report)


def schema() -> dict[str, Any]:
    """The JSON Schema of a report, made from its types."""
    return of(Report, SCHEMA, "A ckptdoctor report")


def schema_text() -> str:
    """The schema as it is shipped in ``report.schema.json``."""
    return indented(schema())


def indented(value: Any) -> str:
    """Plain data as JSON that acts on no terminal it is shown on."""
    return in_json(msgspec.json.format(encode(value), indent=2).decode()) + "\n"
