"""For a pull request's comment: each change and each contract under a fold, short enough for GitHub."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate, chain

from ckptdoctor.model.impact import KINDS, Change, ContractChange, Impact, Outcome
from ckptdoctor.model.report import Remedy
from ckptdoctor.output import Style
from ckptdoctor.output.markup import bullets, code, fenced, folded, html, prose
from ckptdoctor.output.views import changed
from ckptdoctor.words.wording import counted, located

LIMIT = 65_000
"""Characters of a comment; GitHub refuses more than 65,536."""

MARKER = "<!-- ckptdoctor-impact -->"
"""What the comment that is updated is told by."""

_LINES_OF_DIFF = 150
_RELIED = 20


def render(found: Impact, style: Style) -> str:
    """Prints an impact for a comment; ``style`` is ignored."""
    found = changed.clean(found)
    parts = [MARKER, *_head(found)]
    ends = [*_unknown(found), *bullets("#### Notes", found.notes), _foot(found)]
    left = LIMIT - sum(len(one) + 2 for one in (*parts, *ends))
    return "\n\n".join(filter(None, [*parts, *_within(found, left), *ends])) + "\n"


def _head(found: Impact) -> Iterator[str]:
    yield f"### ckptdoctor impact: {prose(changed.head(found))}"
    counts, _, rest = changed.verdict(found).partition(". ")
    yield f"**{prose(counts.rstrip('.'))}.**"
    texts = (rest, changed.commits(found), changed.code(found), changed.tried(found))
    yield "\n\n".join(prose(text) for text in texts if text)


def _within(found: Impact, left: int) -> Iterator[str]:
    """The folds that fit, the most important first; then how many were left out."""
    changes = ((one.kind, _change(one)) for kind in KINDS for one in found.of_kind(kind))
    folds = chain(changes, (("contract", _contract(one)) for one in found.contracts))
    titled, left_out = set[str](), 0
    left -= 200  # for titles, and for what is said of those that are left out
    for kind, (summary, body) in folds:
        title = "Contracts that changed" if kind == "contract" else changed.TITLES[kind]  # type: ignore[index]
        block = folded(summary, body)
        if len(block) > left:
            block = folded(summary, "Too long for a comment; the JSON has it.")
        if len(block) + len(title) + 8 > left:
            left_out += 1
            continue
        if title not in titled:
            titled.add(title)
            left -= len(title) + 8
            yield f"#### {title}"
        left -= len(block) + 2
        yield block
    if left_out:
        yield f"{left_out} more did not fit into a comment; the JSON has them."


def _change(one: Change) -> tuple[str, str]:
    """The line of a fold, as HTML, and what is in it."""
    rules = f" ({', '.join(one.rules)})" if one.rules else ""
    pins = " <b>admitted by its requirements</b>" if one.stack and one.admitted else ""
    summary = f"{html(f'{changed.title(one)}{rules}: {changed.models(one.models)}')}{pins}"
    lines = [
        *([f"- {prose(changed.rules(one))}"] if one.rules else []),
        *([f"- Requirements: {prose(changed.pins(one))}"] if changed.pins(one) else []),
        *(line for name, text, side in changed.sides(one) for line in _side(name, text, side)),
        *([f"- Fixes: {prose(one.unsearched)}"] if one.unsearched else []),
        *([f"- Try it: {code(one.command)}"] if one.command else []),
    ]
    remedies = [_remedy(number, remedy) for number, remedy in enumerate(one.remedies, 1)]
    return summary, "\n\n".join(["\n".join(lines), *(["Fixes:", *remedies] if remedies else [])])


def _side(name: str, text: str, side: Outcome) -> Iterator[str]:
    yield f"- On the {name}: {prose(text)}"
    if side.callable:
        yield f"  - Passed: {code(side.callable)}"
    if side.passed_by and not any(fault.passed_by for fault in side.faults):
        yield f"  - Passed by: {code(located(side.passed_by))}"
    for fault in side.faults:
        yield f"  - {code(fault.error) if fault.error else prose(fault.title)}"
        for label, place in changed.lines(fault):
            yield f"  - {label.capitalize()}: {code(located(place))}"
            if place.code:
                yield f"    - {code(place.code)}"


def _remedy(number: int, remedy: Remedy) -> str:
    parts = [f"{number}. **{remedy.label}**: {prose(remedy.title)}"]
    parts += [_inside(fenced(_cut("\n".join(remedy.commands)), "bash"))] if remedy.commands else []
    parts += [_inside(fenced(_cut(remedy.diff), "diff"))] if remedy.diff else []
    return "\n\n".join(parts)


def _inside(block: str) -> str:
    return "\n".join(f"   {line}" for line in block.split("\n"))


def _cut(text: str) -> str:
    lines = text.rstrip("\n").split("\n")
    if len(lines) <= _LINES_OF_DIFF:
        return text
    return "\n".join([*lines[:_LINES_OF_DIFF], f"... and {len(lines) - _LINES_OF_DIFF} lines more"])


def _contract(one: ContractChange) -> tuple[str, str]:
    lines = [f"- {prose(changed.contract(one))}.", f"- In {prose(changed.models(one.models))}."]
    for each in one.relied[:_RELIED]:
        breaks = f" {prose(each.breaks)} ({each.certainty})" if each.breaks else ""
        lines.append(f"- {code(located(each.place))} {prose(each.title)}.{breaks}")
    if len(one.relied) > _RELIED:
        lines.append(f"- and {len(one.relied) - _RELIED} more lines")
    summary = f"{changed.WATCHED[one.watched]} changed in {changed.models(one.models)}; {changed.relied(one)}"
    return html(summary), "\n".join(lines)


def _unknown(found: Impact) -> list[str]:
    """What nothing is known of, under a fold: it is long where many families cannot be made tiny."""
    lines = [f"- {prose(changed.unknown(one))}" for one in found.not_compared]
    if not lines:
        return []
    lengths = accumulate(len(line) + 1 for line in lines)
    shown = [line for line, end in zip(lines, lengths, strict=True) if end <= LIMIT // 2]
    if len(shown) < len(lines):
        shown.append(f"- and {len(lines) - len(shown)} more; the JSON has them")
    count, why = sum(len(one.what) for one in found.not_compared), counted(len(lines), "reason")
    what = f"{counted(count, 'combination')} of which nothing is known, for {why}"
    return ["#### Not compared", folded(html(what), "\n".join(shown))]


def _foot(found: Impact) -> str:
    where = f"ckptdoctor {found.version}, Python {found.python}, torch {found.torch}, {found.platform}, {found.date}."
    return f"<sub>{prose(where)}</sub>"
