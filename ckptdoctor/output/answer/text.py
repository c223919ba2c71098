"""What is known of some releases, for people."""

from __future__ import annotations

import itertools

from ckptdoctor.model.answer import Answer, Known, Pair
from ckptdoctor.output import Style
from ckptdoctor.output.layout import Layout, page
from ckptdoctor.words.escape import escaped

_WORDS: dict[Known, tuple[str, str]] = {
    "works": ("WORKS", "green"),
    "fails": ("FAILS", "red"),
    "some work": ("SOME WORK", "yellow"),
    "not known": ("NOT KNOWN", "yellow"),
}
_MOST_ROWS = 40


def render(answer: Answer, style: Style) -> str:
    """Prints an answer for a person to read."""
    answer = escaped(answer, ascii_only=not style.unicode)
    layout = Layout(style)
    word, color = _WORDS[answer.known]
    return page(
        [
            layout.sentence(answer.summary, f"{word}  ", fg=color, bold=True),
            _pairs(answer, layout) if len(answer.pairs) > 1 else [],
            _families(answer, layout) if len(answer.families) > 1 else [],
            [line for one in answer.nearest for line in (*layout.wrap(one.sentence, "- ", "  "), f"    {one.command}")],
            layout.notes(answer.notes),
        ]
    )


def _pairs(answer: Answer, layout: Layout) -> list[str]:
    """A row for each release of a trainer and each run of releases of transformers that end alike."""
    rows = []
    for (trainer, release), each in itertools.groupby(answer.pairs, key=lambda one: (one.trainer, one.release)):
        for ends, run in itertools.groupby(each, key=_end):
            pairs = list(run)
            first, last = pairs[0].transformers, pairs[-1].transformers
            rows.append([f"{trainer} {release}", first if first == last else f"{first} to {last}", ends])
    more = [f"  and {len(rows) - _MOST_ROWS} more rows; --format json has all pairs"] if len(rows) > _MOST_ROWS else []
    return [*layout.table(["trainer", "transformers", "result"], rows[-_MOST_ROWS:]), *more]


def _families(answer: Answer, layout: Layout) -> list[str]:
    """A row for each run of releases of transformers in which a family ends alike."""
    rows = []
    for ends, run in itertools.groupby(answer.families, key=lambda one: (one.known, one.rules)):
        told = [one.transformers for one in run]
        result = {"works": "works", "fails": f"fails ({', '.join(ends[1])})"}.get(ends[0], "does not run tiny")
        rows.append([told[0] if len(told) == 1 else f"{told[0]} to {told[-1]}", result])
    return layout.table(["transformers", "result"], rows)


def _end(pair: Pair) -> str:
    result = "works" if pair.works else f"fails ({', '.join(pair.rules)})" if pair.rules else "fails"
    here = "; measured here" if pair.here else ""
    return f"{result}{here}; pip does not install it" if pair.unmet else f"{result}{here}"
