"""What a log shows, for people."""

from __future__ import annotations

from ckptdoctor.model.evidence import Place
from ckptdoctor.model.explanation import ExplainedError, Explanation
from ckptdoctor.output import Style
from ckptdoctor.output.layout import Layout, page
from ckptdoctor.rules import label_of
from ckptdoctor.words.escape import LONGEST_LINE, escaped, one_line
from ckptdoctor.words.wording import located

_VERDICTS = {
    "ours": ("EXPLAINED", "red"),
    "suspected": ("SUSPECTED", "yellow"),
    "not ours": ("NOT RELATED", "green"),
    "nothing found": ("NOTHING FOUND", "yellow"),
}
_ERRORS = 5


def render(found: Explanation, style: Style) -> str:
    """Prints an explanation for a person to read."""
    # Escaped as a whole, here and once: nothing out of a log can act on the terminal below this line.
    found = escaped(found, ascii_only=not style.unicode)
    layout = Layout(style)
    errors = [one for one in found.errors if one.verdict == found.verdict] or found.errors[-1:]
    *earlier, last = [_verdict(found, layout), *(_error(error, layout) for error in errors[:_ERRORS])]
    return page([*earlier, [*last, *_facts(found, layout)]])


def _verdict(found: Explanation, layout: Layout) -> list[str]:
    word, color = _VERDICTS[found.verdict]
    head = "  ".join(filter(None, [word, found.rule])) + "  "
    return layout.wrap(one_line(found.summary, 2 * LONGEST_LINE), head, "  ", fg=color)


def _error(error: ExplainedError, layout: Layout) -> list[str]:
    shown_by = one_line(f"({', '.join(error.ranks)})") if error.ranks else ""
    said = f"{error.type}: {error.message}" if error.message else error.type
    return [
        *layout.field("error", f"{one_line(said)} {shown_by}".rstrip()),
        *layout.field("in the text", f"line {error.line}"),
        *_place(label_of(error.rule, error.culprit), error.culprit, layout),
        *_place("passed by", error.passed_by, layout),
    ]


def _place(label: str, place: Place | None, layout: Layout) -> list[str]:
    return [*layout.field(label, one_line(located(place))), *layout.code(place.code)] if place else []


def _facts(found: Explanation, layout: Layout) -> list[str]:
    """Which versions the text names, what is known of them and what fixes it."""
    named = [
        f"{name} {one.version} ({one.where[0].partition(':')[0]})"
        for name, each in found.versions.items()
        for one in each
    ]
    lines = layout.field("versions", one_line(", ".join(named), 2 * LONGEST_LINE)) if named else []
    for at, one in enumerate(found.known):
        lines += layout.field("" if at else "known", f"[{one.how}] {one_line(one.sentence)}")
        lines += [layout.command(one_line(one.command))] if one.command else []
    lines += layout.fields("fixes", map(one_line, found.fixes))
    lines += layout.fields("doubts", map(one_line, found.doubts))
    return [*lines, *([f"  more: ckptdoctor rule {found.rule}"] if found.rule else [])]
