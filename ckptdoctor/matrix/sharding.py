"""Which part of a matrix one of several jobs runs: the same in every job that knows the same releases."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from ckptdoctor.errors import UsageFault
from ckptdoctor.matrix.inference import Group

BASE_COST = 3.0
"""Seconds for each release of transformers in a shard: an overlay and an import (``benchmarks/README.md``)."""

STEP_COST = 0.5
"""Seconds for each trainer's release on it, likewise."""


class Shard(NamedTuple):
    """One of several parts: ``number`` of ``parts``, counted from 1."""

    number: int
    parts: int

    @property
    def label(self) -> str:
        """As the option has it."""
        return f"{self.number}/{self.parts}"


def parse(text: str) -> Shard:
    """Read ``K/N``.

    Raises:
        UsageFault: It is not that.
    """
    found = re.fullmatch(r"(\d{1,4})/(\d{1,4})", text.strip())
    shard = Shard(int(found[1]), int(found[2])) if found else None
    if shard is None or not 1 <= shard.number <= shard.parts:
        raise UsageFault(f"'{text}' is no shard.", "write --shard 1/4 to --shard 4/4 for four jobs")
    return shard


def own(groups: Sequence[Group], shard: Shard) -> list[Group]:
    """The groups that this shard runs. Those of one release of transformers stay together: it is imported once for them."""
    together: dict[str, list[Group]] = {}
    for group in groups:
        together.setdefault(group.members[0].stack.get("transformers", ""), []).append(group)
    loads = [0.0] * shard.parts
    mine: list[Group] = []
    # The largest first, each to the shard with the least so far: no shard is left with a large one in the end.
    for _, each in sorted(together.items(), key=lambda pair: (-len(pair[1]), pair[0])):
        at = loads.index(min(loads))
        loads[at] += BASE_COST + STEP_COST * len(each)
        if at == shard.number - 1:
            mine += each
    return mine
