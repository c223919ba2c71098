"""The map as one page that needs nothing else: a picture of it, and the evidence behind each cell."""

from __future__ import annotations

import base64
import hashlib
import html
import importlib.resources
import json
import re
from collections.abc import Iterable, Mapping
from string import Template
from typing import Any

import msgspec

from ckptdoctor.model import declared
from ckptdoctor.model.compatibility import Cell, Map, Run
from ckptdoctor.model.evidence import Place
from ckptdoctor.output import Style
from ckptdoctor.output.views import digest
from ckptdoctor.output.views.digest import KnownFault, Reason, Where
from ckptdoctor.output.views.source_names import named
from ckptdoctor.output.views.table import Joined, Sheet, sheets
from ckptdoctor.rules import label_of
from ckptdoctor.words.escape import escaped
from ckptdoctor.words.wording import located

_LINES_SHOWN = 3
_NOT_IN_THE_MAP = -1

_Unmet = tuple[int, tuple[tuple[int, int], ...]]
"""How many combinations do not meet some requirement; by requirement, how many do not meet it."""

_Kind = tuple[str, tuple[str, ...], tuple[str, ...], int, int, tuple[int, ...], tuple[int, ...], _Unmet]
"""Verdict, rules, warnings, number measured, number in all, the runs behind, what is required, and what of that is not met:
what cells share by the thousand."""


def render(found: Map, style: Style) -> str:
    """Prints a map as a page; ``style`` is ignored."""
    # Escaped as a whole, so that no character hides or turns round what the page shows.
    found = named(escaped(found))
    joined = sheets(found)
    look, act = _resource("page.css"), _resource("page.js")
    return Template(_resource("page.html")).substitute(
        look=look,
        look_hash=_hash(look),
        act=act,
        act_hash=_hash(act),
        data=_script_safe(_data(found, joined)),
        headline=_safe(digest.headline(found)),
        facts=_facts(found),
        audit=_audit(found),
        tables="".join(map(_table, joined)),
        faults=_section("Faults", "".join(map(_fault, digest.faults(found)))),
        reasons=_section("Cannot be diagnosed", "".join(map(_reason, digest.reasons(found)))),
        unmet=_section("Declared requirements that are not met", "".join(map(_unmet, digest.unmet(found)))),
        notes=_section("Notes", _list(digest.notes(found))),
    )


def _resource(name: str) -> str:
    return importlib.resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """What the page's policy knows a style or a script by; nothing else is let in."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _safe(text: str) -> str:
    return html.escape(text)


def _prose(text: str) -> str:
    """A sentence, with what stands between backticks as code."""
    return "".join(_code(part) if at % 2 else _safe(part) for at, part in enumerate(re.split("`([^`]+)`", text)))


# -- data for the script ----------------------------------------------------------------------------------------------


def _script_safe(data: Any) -> str:
    """JSON that cannot end the script element that it stands in, nor begin a comment in it."""
    text = json.dumps(data, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _data(found: Map, joined: list[Sheet]) -> dict[str, Any]:
    pool = _Pool(found)
    pairs = zip(joined, sheets(found, join=False), strict=True)
    shown = [
        {
            "title": together.title,
            "package": together.package,
            "joined": _view(together, pool),
            "single": _view(single, pool),
        }
        for together, single in pairs
    ]
    return {
        "sheets": shown,
        "kinds": list(pool.kinds),
        "runs": list(map(_run, found.runs)),
        "requirements": list(pool.requirements),
    }


def _run(run: Run) -> dict[str, Any]:
    """A run, each fault with the label of its line."""
    made: dict[str, Any] = msgspec.to_builtins(run)
    for fault, shown in zip(run.faults, made.get("faults", []), strict=True):
        shown["label"] = label_of(fault.rule, fault.culprit).capitalize()
    return made


def _view(sheet: Sheet, pool: _Pool) -> dict[str, Any]:
    """A table as numbers of kinds."""
    rows = [{"label": row.label, "cells": [pool.number(cell) for cell in row.cells]} for row in sheet.rows]
    return {"columns": sheet.headers, "rows": rows}


class _Pool:
    """What many cells share, each once, in the order of its numbers."""

    def __init__(self, found: Map) -> None:
        self.kinds: dict[_Kind, int] = {}
        self.requirements: dict[str, int] = {}
        self._found = found
        self._required: dict[tuple[tuple[str, str], ...], list[str]] = {}

    def number(self, cell: Joined | None) -> int:
        """The number of a cell's kind."""
        if cell is None:
            return _NOT_IN_THE_MAP
        # What was measured comes first: it is the nearest evidence.
        runs = tuple(dict.fromkeys(one.run for one in sorted(cell.cells, key=lambda one: one.how != "measured")))
        required = dict.fromkeys(text for one in cell.cells for text in self._required_by(one))
        unmet = tuple((self._requirement(text), count) for text, count in cell.unmet.items())
        kind = (
            *(cell.verdict, cell.rules, cell.warnings, cell.measured, len(cell.cells), runs),
            *(tuple(map(self._requirement, required)), (cell.outside, unmet)),
        )
        return self.kinds.setdefault(kind, len(self.kinds))

    def _requirement(self, text: str) -> int:
        return self.requirements.setdefault(text, len(self.requirements))

    def _required_by(self, cell: Cell) -> list[str]:
        # Nothing else decides what is required.
        deciding = {name: at for name, at in cell.stack.items() if name == "python" or name in self._found.requires}
        key = tuple(deciding.items())
        if key not in self._required:
            self._required[key] = declared.required(deciding, self._found)
        return self._required[key]


# -- what the page says without a script ------------------------------------------------------------------------------


def _facts(found: Map) -> str:
    facts = {
        "Axes": digest.asked(found),
        "In all combinations": digest.everywhere(found),
        "Measured with": digest.measured_with(found),
    }
    return _definitions({name: [_safe(text)] for name, text in facts.items()})


def _definitions(entries: Mapping[str, list[str]]) -> str:
    """A list of terms; what they stand for is markup already."""
    return "".join(
        f"<dt>{term}</dt>" + "".join(f"<dd>{text}</dd>" for text in texts)
        for term, texts in entries.items()
        if any(texts)
    )


def _audit(found: Map) -> str:
    if found.audit is None:
        return ""
    wrong = found.audit.disagreements
    look = "audit alarm" if wrong else "audit"
    return f'<div class="{look}"><p>{_safe(digest.audit(found))}</p>{_list(wrong)}</div>'


def _list(items: Iterable[str]) -> str:
    inner = "".join(f"<li>{_prose(item)}</li>" for item in items)
    return f"<ul>{inner}</ul>" if inner else ""


def _section(title: str, inner: str) -> str:
    return f"<section><h2>{title}</h2>{inner}</section>" if inner else ""


def _table(sheet: Sheet) -> str:
    head = "".join(f'<th scope="col"><span>{_safe(header)}</span></th>' for header in [sheet.package, *sheet.headers])
    rows = "".join(
        f'<tr><th scope="row"><span>{_safe(row.label)}</span></th>{"".join(map(_cell, row.cells))}</tr>'
        for row in sheet.rows
    )
    caption = f"<caption>Model {_safe(sheet.title)}</caption>" if sheet.title else ""
    return f'<div class="scroll"><table>{caption}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _cell(cell: Joined | None) -> str:
    if cell is None:
        return '<td class="none"></td>'
    words = [cell.word, *(cell.rules if cell.verdict == "fail" else [])]
    look = cell.verdict.replace(" ", "-")
    lines = [" ".join(words), f"{cell.measured}/{len(cell.cells)} measured"]
    lines += [f"{cell.outside}/{len(cell.cells)} not as required"] if cell.outside else []
    return f'<td class="{look}">{"<br>".join(map(_safe, lines))}</td>'


def _fault(known: KnownFault) -> str:
    fault = known.fault
    first = next(iter(known.read_at), None)
    entries = {
        "What": [_code(known.error)],
        label_of(fault.rule, fault.culprit).capitalize(): [
            *_places(known.read_at),
            _code(first.code if first else ""),
        ],
        "Passed by": _places(known.passed_at),
        "Callable": _some([_code(text) for text in known.callables]),
        "Functions": [_safe(", ".join(fault.functions))],
        "In": _where(known.where),
    }
    filled = {term: list(filter(None, texts)) for term, texts in entries.items()}
    title = f'<span class="rule {fault.severity}">{_safe(fault.rule)} {fault.severity}</span> {_prose(known.title)}'
    return f"<article><h3>{title}</h3><dl>{_definitions(filled)}</dl></article>"


def _code(text: str) -> str:
    return f"<code>{_safe(text)}</code>" if text else ""


def _places(places: list[Place]) -> list[str]:
    return _some([_safe(located(place)) for place in places])


def _some(texts: list[str]) -> list[str]:
    more = len(texts) - _LINES_SHOWN
    return [*texts[:_LINES_SHOWN], *([f"and {more} more"] if more > 0 else [])]


def _where(places: list[Where]) -> list[str]:
    return [f"{_safe(one.label)} <small>{digest.share(one.measured, one.total)}</small>" for one in places]


def _unmet(reason: Reason) -> str:
    return (
        f"<article><h3>{_safe(reason.why)}</h3><dl>{_definitions({'Not met by': _where(reason.where)})}</dl></article>"
    )


def _reason(reason: Reason) -> str:
    return f"<article><h3>{_prose(reason.why)}</h3><dl>{_definitions({'In': _where(reason.where)})}</dl></article>"
