"""What the cache holds and what was dropped from it, for people and for machines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ckptdoctor.output.json import indented
from ckptdoctor.store.cache_contents import KINDS, Entry
from ckptdoctor.store.locations import STORE
from ckptdoctor.words.escape import plain
from ckptdoctor.words.wording import counted

SCHEMA = "ckptdoctor/cache/1"


def render(cache: Path, entries: Sequence[Entry], limit: int | None, note: str) -> str:
    """Where the cache lies, each kind with its entries and bytes, and the limit."""
    lines = [
        str(cache),
        "",
        table(entries, every_kind=True),
        "",
        f"limit: {_limit(limit)}",
    ]
    return plain("\n".join([*lines, *filter(None, [note])])) + "\n"


def _limit(limit: int | None) -> str:
    return "none" if limit is None else f"{size(limit)}, {STORE} not counted"


def to_json(cache: Path, entries: Sequence[Entry], limit: int | None, is_ours: bool) -> str:
    """The same for machines; sizes in bytes."""
    kinds: list[dict[str, Any]] = [
        {"name": name, "description": what, "entries": count, "bytes": total}
        for name, what, count, total in _by_kind(entries)
    ]
    told = {"schema": SCHEMA, "cache": str(cache), "made_by_ckptdoctor": is_ours, "limit": limit}
    return indented({**told, "bytes": sum(one.size for one in entries), "entries": len(entries), "kinds": kinds})


def table(entries: Iterable[Entry], every_kind: bool = False) -> str:
    """A line for each kind, and one for all."""
    from tabulate import tabulate

    kinds = [row for row in _by_kind(entries) if row[2] or every_kind]
    rows = [[name, counted(count, "entry"), size(total), what] for name, what, count, total in kinds]
    total = [sum(row[2] for row in kinds), sum(row[3] for row in kinds)]
    rows.append(["total", counted(total[0], "entry"), size(total[1]), ""])
    return tabulate(rows, tablefmt="plain", disable_numparse=True, colalign=("left", "right", "right", "left"))


def size(count: int) -> str:
    """Bytes as people read them."""
    amount = float(count)
    for unit in ("B", "kB", "MB"):
        if amount < 999.5:
            return f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:.3g} GB" if amount < 999.5 else f"{amount:,.0f} GB"


def _by_kind(entries: Iterable[Entry]) -> list[tuple[str, str, int, int]]:
    sizes: dict[str, list[int]] = {name: [] for name in KINDS}
    for entry in entries:
        sizes[entry.kind].append(entry.size)
    return [(name, what, len(sizes[name]), sum(sizes[name])) for name, what in KINDS.items()]
