"""For machines: the whole report, as `ckptdoctor/output/report/report.schema.json` describes it."""

from __future__ import annotations

from typing import Any

from ckptdoctor.model.report import SCHEMA, Report
from ckptdoctor.output import Style
from ckptdoctor.output.plain_json import indented, schema_of


def render(report: Report, style: Style) -> str:
    """Prints a report as indented JSON; ``style`` is ignored."""
    return indented(report)


def schema() -> dict[str, Any]:
    """The JSON Schema of a report, made from its types."""
    return schema_of(Report, SCHEMA, "A ckptdoctor report")


def schema_text() -> str:
    """The schema as it is shipped in ``report.schema.json``."""
    return indented(schema())
