"""Says in Markdown what differs between two maps: ``whats_changed.py OLD NEW``. Prints nothing where nothing does.

What counts is the verdict of each combination of releases: new ones, changed ones, and those that are gone.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path

from ckptdoctor.knowledge import packed
from ckptdoctor.model.compatibility import Map
from ckptdoctor.output.markup import prose

Stack = tuple[tuple[str, str], ...]
Verdicts = Mapping[tuple[Stack, str], str]

WORDS = {
    "ok": "works",
    "fail": "fails",
    "not judged": "is not judged",
    "error": "cannot be diagnosed",
    "": "not in the map",
}
MOST = 50
"""Combinations that are named for each change."""


def main(old: str, new: str) -> None:
    """Compare two maps and print what changed."""
    before, after = (packed.read(Path(file)) for file in (old, new))
    blocks = [*releases(before, after), *changes(verdicts(before), verdicts(after))]
    if blocks:
        title = f"## {prose(Path(new).name.partition('.')[0])}: {prose(before.date)} to {prose(after.date)}"
        sys.stdout.write("\n\n".join([title, *blocks]) + "\n\n")


def verdicts(found: Map) -> Verdicts:
    """The verdict of each combination."""
    return {(tuple(sorted(cell.stack.items())), cell.model): cell.verdict for cell in found.cells}


def releases(before: Map, after: Map) -> Iterator[str]:
    """Releases that came and went."""
    for name in sorted({*before.axes, *after.axes}):
        old, new = before.axes.get(name, []), after.axes.get(name, [])
        for word, these in (
            ("new", [one for one in new if one not in old]),
            ("gone", [o for o in old if o not in new]),
        ):
            if these:
                yield f"{word.capitalize()}: {prose(', '.join(f'{name} {one}' for one in these))}"


def changes(before: Verdicts, after: Verdicts) -> Iterator[str]:
    """Combinations by what became of them, the failing first."""
    moved = [
        ((before.get(key, ""), after.get(key, "")), key)
        for key in sorted({*before, *after})
        if before.get(key, "") != after.get(key, "")
    ]
    moved.sort(key=lambda one: (one[0][1] != "fail", one[0]))
    for (old, new), group in groupby(moved, key=lambda one: one[0]):
        keys = [key for _, key in group]
        lines = [f"- {prose(named(*key))}" for key in keys[:MOST]]
        lines += [f"- and {len(keys) - MOST} more"] if len(keys) > MOST else []
        yield "\n".join([f"### {WORDS[old]}, now {WORDS[new]} ({len(keys)})", "", *lines])


def named(stack: Stack, model: str) -> str:
    """A combination in words."""
    return ", ".join(f"{name} {release}" for name, release in stack) + (f" ({model})" if model else "")


if __name__ == "__main__":
    main(*sys.argv[1:])
