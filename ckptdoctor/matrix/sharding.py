"""Which part of a matrix one of several jobs runs: the same in every job that knows the same releases."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from ckptdoctor.errors import UsageFault
from ckptdoctor.matrix import costs
from ckptdoctor.matrix.inference import Group

BASE_COST = 2.5
"""Seconds for each release of transformers beside its probes: an overlay and an import (``benchmarks/README.md``)."""


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


def own(groups: Sequence[Group], shard: Shard, engines: Sequence[str] = ()) -> list[Group]:
    """The groups that this shard runs. Those of one release of transformers stay together: it is imported once for them.

    Args:
        groups: All that there are.
        shard: Which part.
        engines: What wraps the model; none without any.
    """
    together: dict[str, list[Group]] = {}
    for group in groups:
        together.setdefault(group.members[0].stack.get("transformers", ""), []).append(group)
    expected = {release: cost(each, engines) for release, each in together.items()}
    loads = [0.0] * shard.parts
    mine: list[Group] = []
    # The dearest first, each to the shard with the least so far: no shard is left with a dear one in the end.
    for release in sorted(together, key=lambda release: (-expected[release], release)):
        at = loads.index(min(loads))
        loads[at] += expected[release]
        if at == shard.number - 1:
            mine += together[release]
    return mine


def cost(groups: Sequence[Group], engines: Sequence[str] = ()) -> float:
    """Seconds that the groups of one release of transformers take, by what was measured with the shipped maps."""
    wrapped = tuple(engines) or (costs.USUAL,)
    known = costs.shipped()
    models = {group.members[0].model for group in groups}
    trainers = [group.members[0].trainer_requirement.partition("==")[0] for group in groups]
    steps = sum(known.of_trainer(name, wrapped) for name in trainers if name)
    return round(BASE_COST + len(models) * known.of_base(wrapped) + steps, 2)
