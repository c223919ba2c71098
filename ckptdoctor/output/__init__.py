"""Output formats: each takes a finished report and returns text; none prints.

A format's module is imported when it is first used, so that asking for JSON does not load what tables need.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ckptdoctor.report import Report


@dataclass(frozen=True)
class Style:
    """What the place that the text goes to can show.

    Attributes:
        color: Whether ANSI colours may be used.
        width: Columns of the terminal.
        verbose: Whether tracebacks and output of failed probes are wanted.
        unicode: Whether anything beyond ASCII may be written.
    """

    color: bool
    width: int
    verbose: bool
    unicode: bool


def _text(report: Report, style: Style) -> str:
    from ckptdoctor.output import text

    return text.render(report, style)


def _json(report: Report, style: Style) -> str:
    from ckptdoctor.output import json

    return json.render(report, style)


FORMATS: dict[str, Callable[[Report, Style], str]] = {"text": _text, "json": _json}


def render(format: str, report: Report, style: Style) -> str:  # noqa: A002 - named like the option
    """Prints a report into a string.

    Args:
        format: A key of ``FORMATS``.
        report: The finished report.
        style: What can be shown; formats for machines ignore it.

    Returns:
        The text, ending in a newline.
    """
    return FORMATS[format](report, style)
