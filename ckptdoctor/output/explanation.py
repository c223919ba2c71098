"""What a log shows, for people and for machines."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

import click

from ckptdoctor.model.evidence import Place
from ckptdoctor.model.explanation import ExplainedError, Explanation
from ckptdoctor.output import Style
from ckptdoctor.output.json import indented
from ckptdoctor.words.escape import escaped, one_line
from ckptdoctor.words.wording import relative

_VERDICTS = {
    "ours": ("EXPLAINED", "red"),
    "suspected": ("SUSPECTED", "yellow"),
    "not ours": ("NOT ONE OF OURS", "green"),
    "nothing found": ("NOTHING FOUND", "yellow"),
}
_COLUMN = 15
_NARROW = 60
"""Below this many columns labels get lines of their own."""
_LONGEST = 400
"""Characters of a message or a source line that are shown."""
_ERRORS = 5


def render(format: str, found: Explanation, style: Style) -> str:  # noqa: A002 - named like the option
    """Prints an explanation into a string.

    Args:
        format: ``text`` or ``json``.
        found: What the log shows.
        style: What can be shown; JSON ignores it.
    """
    if format == "json":
        return indented(found)
    # Escaped as a whole, here and once: nothing out of a log can act on the terminal below this line.
    return "\n".join(_text(escaped(found, ascii_only=not style.unicode), style)) + "\n"


def _text(found: Explanation, style: Style) -> Iterator[str]:
    word, color = _VERDICTS[found.verdict]
    head = f"{word}  {found.rule}  " if found.rule else f"{word}  "
    first, *rest = _wrapped(head, one_line(found.summary, 2 * _LONGEST), "  ", style)
    yield (click.style(first[: len(head)], fg=color, bold=True) + first[len(head) :]) if style.color else first
    yield from rest
    errors = [one for one in found.errors if one.verdict == found.verdict] or found.errors[-1:]
    for error in errors[:_ERRORS]:
        yield from _error(error, style)
    yield from _versions(found, style)
    yield from _known(found, style)
    for at, fix in enumerate(found.fixes):
        yield from _field("" if at else "fixes", one_line(fix, _LONGEST), style)
    for at, doubt in enumerate(found.doubts):
        yield from _field("" if at else "doubts", one_line(doubt, _LONGEST), style)
    if found.rule:
        yield f"  more: ckptdoctor rule {found.rule}"


def _error(error: ExplainedError, style: Style) -> Iterator[str]:
    yield ""
    shown_by = one_line(f"({', '.join(error.ranks)})", _LONGEST) if error.ranks else ""
    said = f"{error.type}: {error.message}" if error.message else error.type
    yield from _field("error", f"{one_line(said, _LONGEST)} {shown_by}".rstrip(), style)
    yield from _field("in the text", f"line {error.line}", style)
    if error.culprit:
        yield from _place("read by" if error.rule == "CKPT001" else "where", error.culprit, style)
    if error.passed_by:
        yield from _place("passed by", error.passed_by, style)


def _place(label: str, place: Place, style: Style) -> Iterator[str]:
    owner = f"{place.package} {place.version}".strip()
    where = f"{relative(place.file)}:{place.line}"
    yield from _field(label, one_line(f"{owner}, {where}" if owner else where, _LONGEST), style)
    if place.code:
        yield from _field("", f"  {one_line(place.code, _LONGEST)}", style)


def _versions(found: Explanation, style: Style) -> Iterator[str]:
    named = [
        f"{name} {one.version} ({one.where[0].partition(':')[0]})"
        for name, each in found.versions.items()
        for one in each
    ]
    if named:
        yield from _field("versions", one_line(", ".join(named), 2 * _LONGEST), style)


def _known(found: Explanation, style: Style) -> Iterator[str]:
    for at, one in enumerate(found.known):
        yield from _field("" if at else "known", f"[{one.how}] {one_line(one.sentence, _LONGEST)}", style)
        if one.command:
            command = f"{' ' * (_COLUMN + 2)}{one_line(one.command, _LONGEST)}"
            yield click.style(command, fg="cyan") if style.color else command


def _field(label: str, text: str, style: Style) -> list[str]:
    """Text behind a label, or under it in a narrow terminal."""
    if style.width < _NARROW:
        return [*([_bold(f"  {label}", style)] if label else []), *_wrapped("    ", text, "    ", style)]
    head = f"  {label}".ljust(_COLUMN)
    first, *rest = _wrapped(head, text, " " * _COLUMN, style)
    return [_bold(head, style) + first[len(head) :], *rest]


def _bold(text: str, style: Style) -> str:
    return click.style(text, bold=True) if style.color and text.strip() else text


def _wrapped(head: str, text: str, rest: str, style: Style) -> list[str]:
    lines = textwrap.wrap(
        text,
        style.width,
        initial_indent=head,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return lines or [head]
