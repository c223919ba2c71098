"""What a scan found, for people."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ckptdoctor.model.evidence import Place
from ckptdoctor.model.scan import NotScanned, Scan, ScanFinding
from ckptdoctor.output import Style
from ckptdoctor.output.layout import SEVERITIES, Layout, page
from ckptdoctor.output.sentences import scan_verdict
from ckptdoctor.words.escape import escaped, one_line
from ckptdoctor.words.wording import relative

_NOT_SCANNED = 10
"""Files that are named; the JSON has all."""


def render(found: Scan, style: Style) -> str:
    """Prints a scan for a person to read."""
    # Escaped as a whole, here and once: nothing out of a source file can act on the terminal below this line.
    found = escaped(found, ascii_only=not style.unicode)
    layout = Layout(style)
    return page([*(_finding(one, found, layout) for one in found.findings), [*_last(found, layout)]])


def _finding(one: ScanFinding, found: Scan, layout: Layout) -> list[str]:
    head = f"{one.severity}: {one.rule} {one.name}  "
    lines = layout.wrap(one_line(one.title), head, "  ", fg=SEVERITIES[one.severity])
    lines += layout.field("at", one_line(shown(one.place)))
    lines += layout.code(one.place.code)
    lines += layout.field("assumes", one_line(one.assumes))
    for at, each in enumerate(one.breaks):
        lines += layout.field(
            "" if at else "breaks with", one_line(f"transformers {each.releases}: {each.consequence}")
        )
    if not one.breaks:
        lines += layout.field("breaks with", f"no release of transformers from {found.known[0]} to {found.known[1]}")
    if found.transformers:
        lines += layout.field("here", one_line(f"transformers {found.transformers}: {one.affected or 'not affected'}"))
    lines += layout.field("how sure", one_line(f"{one.certainty}: {one.reason}"))
    if one.trial:
        lines += layout.field("tried", one_line(f"{one.trial.verdict}: {one.trial.summary}"))
    elif one.command:
        lines += [*layout.field("try it", ""), layout.command(one_line(one.command))]
    return lines + (layout.field("not counted", one_line(one.ignored)) if one.ignored else [])


def shown(place: Place) -> str:
    """A line of code, its file relative to the current folder if it lies below, with its package."""
    known_as = f"{place.package} {place.version}".strip()
    file = place.file
    if Path(file).is_relative_to(Path.cwd()):
        file = os.path.relpath(file)
    where = f"{relative(file)}:{place.line}"
    return f"{where} ({known_as})" if known_as else where


def _last(found: Scan, layout: Layout) -> Iterator[str]:
    yield from layout.notes([one_line(note) for note in [*found.notes, *_not_scanned(found.not_scanned)]])
    yield from layout.sentence(scan_verdict(found), bold=True)


def _not_scanned(files: tuple[NotScanned, ...]) -> Iterator[str]:
    for one in files[:_NOT_SCANNED]:
        yield f"not scanned: {one.file}: {one.why}"
    if len(files) > _NOT_SCANNED:
        yield f"not scanned: {len(files) - _NOT_SCANNED} more; --format json names them"
