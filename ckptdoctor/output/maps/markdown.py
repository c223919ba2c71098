"""The map as Markdown, for an issue on GitHub."""

from __future__ import annotations

import re

from ckptdoctor.model.compatibility import Map
from ckptdoctor.output import Style
from ckptdoctor.output.maps import digest
from ckptdoctor.output.maps.digest import KnownFault, Reason, Where
from ckptdoctor.output.maps.table import Joined, Sheet, sheets
from ckptdoctor.words.escape import one_line
from ckptdoctor.words.wording import blames, located

_LONGEST_LINE = 400
_LINES_SHOWN = 3
_LINKED = re.compile(r"[@#]|://|www\.|\bGH-\d|^[0-9a-f]{7,40}$", re.IGNORECASE)
"""Words that GitHub makes a link or a mention of, which would bother whoever is meant."""
_SPAN = re.compile(r"`([^`]+)`")


def render(found: Map, style: Style) -> str:
    """Prints a map for an issue; ``style`` has no say in it."""
    blocks = [
        _head(found),
        *(block for sheet in sheets(found) for block in _sheet(sheet)),
        _legend(found),
        *(block for known in digest.faults(found) for block in _fault(known)),
        *_reasons(digest.reasons(found)),
        *_audit(found),
        *_list("### Notes", [prose(note) for note in digest.notes(found)]),
        f"Measured with {prose(digest.measured_with(found))}.",
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


# -- escaping ---------------------------------------------------------------------------------------------------------


def prose(text: str) -> str:
    """A sentence in which nothing is markup but code between backticks, and nothing mentions or links anyone."""
    parts = _SPAN.split(one_line(text, 10 * _LONGEST_LINE))
    shown = "".join(code(part) if at % 2 else _words(part) for at, part in enumerate(parts))
    # What would begin a heading, a list or a rule where the sentence begins a line.
    return re.sub(r"^(\d+(?=[.)](?: |$)))?([-+=.)])", r"\1\\\2", shown)


def code(text: str) -> str:
    """Text as it is, between backticks; on GitHub nothing in there is markup, a mention or a link."""
    line = one_line(text, _LONGEST_LINE)
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    # A pipe ends a table's cell even in code; spaces keep backticks at the ends apart from the fence.
    padded = f" {line} " if line[:1] == "`" or line[-1:] == "`" else line
    return f"{fence}{padded}{fence}".replace("|", r"\|") if line else ""


def _words(text: str) -> str:
    return "".join(code(word) if _LINKED.search(word) else _word(word) for word in re.split("( +)", text))


def _word(word: str) -> str:
    word = word.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~$])", r"\\\1", word)


# -- blocks -----------------------------------------------------------------------------------------------------------


def _head(found: Map) -> str:
    fixed = digest.everywhere(found)
    lines = [f"**{prose(digest.headline(found))}**", "", f"Asked: {prose(digest.asked(found))}."]
    return "\n".join([*lines, *(["", f"Everywhere: {prose(fixed)}."] if fixed else [])])


def _sheet(sheet: Sheet) -> list[str]:
    head = [prose(sheet.package), *(prose(header) for header in sheet.headers)]
    rows = [[prose(row.label), *map(_cell, row.cells)] for row in sheet.rows]
    lines = [_row(head), _row(["---"] * len(head)), *map(_row, rows)]
    return [*([f"### Model {prose(sheet.title)}"] if sheet.title else []), "\n".join(lines)]


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(cell: Joined | None) -> str:
    if cell is None:
        return ""
    word = {"ok": "ok", "fail": "**FAIL**", "not judged": "not judged", "error": "?"}[cell.verdict]
    rules = prose(", ".join(cell.rules)) if cell.verdict == "fail" else ""
    warned = f"(warns {prose(', '.join(cell.warnings))})" if cell.verdict == "ok" and cell.warnings else ""
    return " ".join(filter(None, [word, rules, warned, f"{cell.measured}/{len(cell.cells)}"]))


def _legend(found: Map) -> str:
    if not found.cells:
        return ""
    unjudged = " `not judged`: needs a GPU, and was run without one." if digest.has_unjudged(found) else ""
    return (
        f"`2/11`: 2 of 11 combinations were measured, the others inferred. {digest.MEASURED.capitalize()}; "
        f"{digest.INFERRED}. `?`: cannot be diagnosed.{unjudged} An empty cell is not in this map."
    )


def _fault(known: KnownFault) -> list[str]:
    fault = known.fault
    first = next(iter(known.read_at), None)
    lines = [
        *([f"- {code(known.error)}"] if known.error else []),
        *_lines(blames(fault.rule, fault.culprit).capitalize(), [located(one) for one in known.read_at]),
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


def _list(title: str, items: list[str]) -> list[str]:
    return [title, "\n".join(f"- {item}" for item in items)] if items else []
