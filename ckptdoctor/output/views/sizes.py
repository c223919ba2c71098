"""Entries of the cache by kind, and sizes as people read them."""

from __future__ import annotations

from collections.abc import Iterable

from ckptdoctor.output.layout import columns
from ckptdoctor.store.cache_contents import KINDS, Entry
from ckptdoctor.words.wording import counted


def table(entries: Iterable[Entry], every_kind: bool = False) -> list[str]:
    """A line for each kind, and one for all."""
    kinds = [row for row in by_kind(entries) if row[2] or every_kind]
    rows = [[name, counted(count, "entry"), size(total), what] for name, what, count, total in kinds]
    total = [sum(row[2] for row in kinds), sum(row[3] for row in kinds)]
    rows.append(["total", counted(total[0], "entry"), size(total[1]), ""])
    return columns(rows, ("left", "right", "right", "left"))


def size(count: int) -> str:
    """Bytes as people read them."""
    amount = float(count)
    for unit in ("B", "kB", "MB"):
        if amount < 999.5:
            return f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:.3g} GB" if amount < 999.5 else f"{amount:,.0f} GB"


def by_kind(entries: Iterable[Entry]) -> list[tuple[str, str, int, int]]:
    """Each kind's name and description, its number of entries and their bytes."""
    sizes: dict[str, list[int]] = {name: [] for name in KINDS}
    for entry in entries:
        sizes[entry.kind].append(entry.size)
    return [(name, what, len(sizes[name]), sum(sizes[name])) for name, what in KINDS.items()]
