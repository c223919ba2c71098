"""Runs in backward against runs in the forward pass: what a layer computes there must be what it computed at first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from . import samples
from .runs import Run

CACHE_KEYWORDS = frozenset({"use_cache", "past_key_values", "past_key_value", "cache_position", "layer_past"})
"""Keyword arguments that transformers itself takes away under checkpointing, and rightly."""


def differences(runs: Sequence[Run], types: dict[str, str]) -> list[dict[str, Any]]:
    """What differs between the runs of each layer in one step: the first of each kind, for each layer.

    A run in backward is compared with the run of the forward pass that it repeats: the last one not yet repeated. Where it
    differs from that, and is like another run of the layer in that step, the order was another one, and nothing is wrong.
    """
    forward: dict[str, list[Run]] = {}
    waiting: dict[str, list[Run]] = {}
    found: list[dict[str, Any]] = []
    for run in runs:
        if not run.is_again:
            forward.setdefault(run.layer, []).append(run)
            waiting.setdefault(run.layer, []).append(run)
            continue
        left = waiting.get(run.layer) or forward.get(run.layer, [])[-1:]
        if not left:
            continue
        first = left[-1]
        if waiting.get(run.layer):
            waiting[run.layer].pop()
        told = _told(first, run)
        if told and any(not _told(other, run) for other in forward[run.layer] if other is not first):
            continue
        found += [{"layer": run.layer, "type": types.get(run.layer, ""), **one} for one in told]
    return _first_of_each(found)


def other_arithmetic(runs: Sequence[Run]) -> list[dict[str, str]]:
    """Layers that ran again in another precision than at first."""
    first: dict[str, str] = {}
    found: dict[str, dict[str, str]] = {}
    for run in runs:
        known = first.setdefault(run.layer, run.arithmetic)
        if run.is_again and run.arithmetic != known and run.layer not in found:
            found[run.layer] = {"layer": run.layer, "forward": known, "recomputed": run.arithmetic}
    return list(found.values())


def _first_of_each(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    kept: dict[tuple[str, str], dict[str, Any]] = {}
    for one in found:
        kept.setdefault((one["layer"], one["what"]), one)
    return list(kept.values())


def _told(first: Run, again: Run) -> list[dict[str, str]]:
    """What differs between two runs of one layer; the second may have stopped early."""
    found = [*_keywords(first, again)]
    random = _random(first, again)
    shapes = list(_shapes(first, again))
    found += [*random, *shapes]
    # Values follow from these: what is behind them is told alone.
    return found or list(_values(first, again))


def _keywords(first: Run, again: Run) -> Iterator[dict[str, str]]:
    if first.keywords is None or again.keywords is None:
        return
    lost = first.keywords - again.keywords - CACHE_KEYWORDS
    if lost:
        yield {"what": "keywords", "forward": ", ".join(sorted(lost)), "again": ""}


def _random(first: Run, again: Run) -> list[dict[str, str]]:
    """Whether a layer that draws random numbers began with other random states."""
    before = [entry.random for entry in first.entries if entry.random]
    after = [entry.random for entry in again.entries if entry.random]
    if not before or not after or before[0] == after[0]:
        return []
    draws = len({*before, *filter(None, [first.random_after])}) > 1
    return [{"what": "random numbers", "forward": "", "again": ""}] if draws else []


def _shapes(first: Run, again: Run) -> Iterator[dict[str, str]]:
    """The first module that got tensors of other shapes or types."""
    for one, other in zip(first.entries, again.entries):
        if one.module != other.module:
            yield {"what": "modules", "forward": one.module, "again": other.module}
            return
        if one.shapes != other.shapes:
            pair = next(((a, b) for a, b in zip(one.shapes, other.shapes) if a != b), ("", ""))
            yield {"what": "shapes", "module": one.module, "forward": str(pair[0]), "again": str(pair[1])}
            return


def _values(first: Run, again: Run) -> Iterator[dict[str, str]]:
    """The first module whose input differs by more than rounding."""
    pairs = [
        (one, other)
        for one, other in zip(first.entries, again.entries)
        if one.module == other.module and one.sample is not None and other.sample is not None
    ]
    if not pairs:
        return
    found = torch.stack([samples.differs(one.sample, other.sample) for one, other in pairs]).tolist()
    for (one, _), is_other in zip(pairs, found):
        if is_other:
            yield {"what": "values", "module": one.module, "forward": "", "again": ""}
            return
