"""What a bisection found, for people."""

from __future__ import annotations

from collections.abc import Iterator

from ckptdoctor.model.compatibility import Bisection, Line, Run
from ckptdoctor.model.evidence import Place
from ckptdoctor.output import Style
from ckptdoctor.output.layout import COLORS, Layout, page
from ckptdoctor.output.views import source_names
from ckptdoctor.rules import label_of
from ckptdoctor.words.escape import escaped, one_line
from ckptdoctor.words.wording import located

_WORDS = {"ok": "works", "fail": "fails", "not judged": "was not judged", "error": "cannot be diagnosed"}


def render(found: Bisection, style: Style) -> str:
    """Prints a bisection for a person to read."""
    found = source_names.named(escaped(found, ascii_only=not style.unicode))
    layout = Layout(style)
    return page([_head(found, layout), *(_line(found, line, layout) for line in found.lines), _foot(found, layout)])


def _head(found: Bisection, layout: Layout) -> list[str]:
    stack = "".join(f", {name} {release}" for name, release in found.stack.items())
    text = f"{found.axis} {found.releases[0]} to {found.releases[-1]} ({len(found.releases)} {_noun(found)}){stack}"
    verdicts = sorted({_WORDS[verdict] for verdict in found.verdicts.values()})
    no_line = (
        ""
        if found.lines
        else f"The verdict does not change: every {_noun(found).removesuffix('s')} {' or '.join(verdicts)}."
    )
    return [line for one in filter(None, [text, no_line]) for line in layout.wrap(one, rest="  ")]


def _foot(found: Bisection, layout: Layout) -> list[str]:
    before = f", {found.from_before} of them known from earlier runs" if found.from_before else ""
    inferred = len(found.verdicts) - len(found.measured)
    others = f"; {inferred} inferred from those with the same code" if inferred else ""
    texts = [
        f"{found.runs} of {len(found.releases)} {_noun(found)} measured{before}{others}.",
        *found.notes,
        *(source_names.notes(found)),
        f"Python {found.python}, torch {found.torch}, {found.platform}, {found.date}.",
    ]
    return [line for text in texts for line in layout.wrap(text, rest="  ")]


def _noun(found: Bisection) -> str:
    """What is searched."""
    sources = found.sources.get(found.axis, {})
    is_history = len(sources) >= len(found.releases) and all(source.subject for source in sources.values())
    return "commits" if is_history else "releases"


def _line(found: Bisection, line: Line, layout: Layout) -> list[str]:
    axis = found.axis
    first = "first that works" if line.fixes else "first that fails"
    lines = layout.sentence(f"{axis} {line.after} is the {first}", bold=True)
    source = source_names.by_name(found, axis).get(line.after)
    if source and source.commit:
        lines += layout.wrap(one_line(f"{source.commit} {source.subject}"), "  commit ", "    ")
    for release, run in ((line.before, line.run_before), (line.after, line.run_after)):
        lines += _side(f"{axis} {release}", run, layout)
    if line.between:
        lines += layout.wrap(
            f"{_noun(found)} between them cannot be diagnosed: {', '.join(line.between)}", "  ", "    "
        )
    return lines


def _side(name: str, run: Run, layout: Layout) -> Iterator[str]:
    yield f"  {name} {layout.paint(_WORDS[run.verdict], fg=COLORS[run.verdict])}  ({run.model}, {run.date})"
    conventions = sorted({one.convention for one in run.functions if one.convention not in ("", "model")})
    if conventions:
        yield from layout.wrap(f"passed as  {', '.join(conventions)}", "    ", "      ")
    for fault in run.faults:
        yield from layout.wrap(one_line(fault.error or fault.title), f"    {fault.rule}  ", "      ")
        yield from _place(label_of(fault.rule, fault.culprit), fault.culprit, layout)
        yield from _place("passed by", fault.passed_by, layout)


def _place(label: str, place: Place | None, layout: Layout) -> list[str]:
    if place is None:
        return []
    code = f"  {one_line(place.code, 100)}" if place.code else ""
    return layout.wrap(f"{label}  {located(place)}{code}", "      ", "        ")
