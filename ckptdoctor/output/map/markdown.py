"""The map as Markdown, for an issue on GitHub."""

from __future__ import annotations

from ckptdoctor.model.compatibility import Map
from ckptdoctor.output import Style
from ckptdoctor.output.markup import bullets, code, prose, table
from ckptdoctor.output.views import digest
from ckptdoctor.output.views.digest import KnownFault, Reason, Where
from ckptdoctor.output.views.source_names import named
from ckptdoctor.output.views.table import Joined, Sheet, sheets
from ckptdoctor.rules import label_of
from ckptdoctor.words.wording import located

_LINES_SHOWN = 3


def render(found: Map, style: Style) -> str:
    """Prints a map for an issue; ``style`` is ignored."""
    found = named(found)
    blocks = [
        _head(found),
        *(block for sheet in sheets(found) for block in _sheet(sheet)),
        _legend(found),
        *(block for known in digest.faults(found) for block in _fault(known)),
        *_reasons(digest.reasons(found)),
        *_audit(found),
        *bullets("### Notes", digest.notes(found)),
        f"Measured with {prose(digest.measured_with(found))}.",
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _head(found: Map) -> str:
    fixed = digest.everywhere(found)
    lines = [f"**{prose(digest.headline(found))}**", "", f"Axes: {prose(digest.asked(found))}."]
    return "\n".join([*lines, *(["", f"In all combinations: {prose(fixed)}."] if fixed else [])])


def _sheet(sheet: Sheet) -> list[str]:
    head = [prose(sheet.package), *map(prose, sheet.headers)]
    rows = [[prose(row.label), *map(_cell, row.cells)] for row in sheet.rows]
    return [*([f"### Model {prose(sheet.title)}"] if sheet.title else []), table(head, rows)]


def _cell(cell: Joined | None) -> str:
    if cell is None:
        return ""
    word = f"**{cell.word}**" if cell.verdict == "fail" else cell.word
    rules = prose(", ".join(cell.rules)) if cell.verdict == "fail" else ""
    warned = f"(warns {prose(', '.join(cell.warnings))})" if cell.verdict == "ok" and cell.warnings else ""
    return " ".join(filter(None, [word, rules, warned, f"{cell.measured}/{len(cell.cells)}"]))


def _legend(found: Map) -> str:
    if not found.cells:
        return ""
    unjudged = " `not judged`: needs a GPU, and was run without one." if digest.has_unjudged(found) else ""
    return (
        "`2/11`: 2 of 11 combinations were measured, the others inferred. "
        f"Measured: {digest.MEASURED}; inferred: {digest.INFERRED}. "
        f"`?`: cannot be diagnosed.{unjudged} An empty cell is not in this map."
    )


def _fault(known: KnownFault) -> list[str]:
    fault = known.fault
    first = next(iter(known.read_at), None)
    lines = [
        *([f"- {code(known.error)}"] if known.error else []),
        *_lines(label_of(fault.rule, fault.culprit).capitalize(), [located(one) for one in known.read_at]),
        *([f"- Source: {code(first.code)}"] if first and first.code else []),
        *_lines("Passed by", [located(one) for one in known.passed_at]),
        *_lines("Callable", known.callables),
        *_lines("Checkpoint functions", fault.functions),
        "- In:",
        *_where(known.where),
    ]
    return [f"### {prose(fault.rule)} {fault.severity}: {prose(known.title)}", "\n".join(lines)]


def _lines(label: str, texts: list[str]) -> list[str]:
    more = f" and {len(texts) - _LINES_SHOWN} more" if len(texts) > _LINES_SHOWN else ""
    return [f"- {label}: {', '.join(map(code, texts[:_LINES_SHOWN]))}{more}"] if texts else []


def _where(places: list[Where]) -> list[str]:
    return [f"  - {prose(place.label)}: {digest.share(place.measured, place.total)}" for place in places]


def _reasons(reasons: list[Reason]) -> list[str]:
    lines = [line for one in reasons for line in (f"- {prose(one.why)}", *_where(one.where))]
    return ["### Cannot be diagnosed", "\n".join(lines)] if lines else []


def _audit(found: Map) -> list[str]:
    text = digest.audit(found)
    if not text or found.audit is None:
        return []
    if not found.audit.disagreements:
        return [text]
    return [f"**{text}**", "\n".join(f"- **{prose(wrong)}**" for wrong in found.audit.disagreements)]
