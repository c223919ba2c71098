"""Output formats of a compatibility map: each takes a finished map and returns text; none prints.

A format's module is imported when it is first used, as in ``ckptdoctor.output``.
"""

from __future__ import annotations

from collections.abc import Callable

from ckptdoctor.model.compatibility import Map
from ckptdoctor.output import Style


def _text(found: Map, style: Style) -> str:
    from ckptdoctor.output.maps import text

    return text.render(found, style)


def _json(found: Map, style: Style) -> str:
    from ckptdoctor.output.maps import json

    return json.render(found, style)


def _markdown(found: Map, style: Style) -> str:
    from ckptdoctor.output.maps import markdown

    return markdown.render(found, style)


def _csv(found: Map, style: Style) -> str:
    from ckptdoctor.output.maps import csv

    return csv.render(found, style)


def _html(found: Map, style: Style) -> str:
    from ckptdoctor.output.maps import html

    return html.render(found, style)


MAP_FORMATS: dict[str, Callable[[Map, Style], str]] = {
    "text": _text,
    "json": _json,
    "markdown": _markdown,
    "csv": _csv,
    "html": _html,
}


def render(format: str, found: Map, style: Style) -> str:  # noqa: A002 - named like the option
    """Prints a map into a string.

    Args:
        format: A key of ``MAP_FORMATS``.
        found: The finished map.
        style: What can be shown; only text heeds it.

    Returns:
        The text, ending in a newline.
    """
    return MAP_FORMATS[format](found, style)
