"""Runs in backward against runs in the forward pass: what a layer computes there must be what it computed at first."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from typing import NamedTuple

import torch

from .. import watch
from . import samples
from .runs import Entry, Run

Told = dict[str, str]
"""One difference, as evidence."""

_Key = tuple[torch.device, torch.dtype, torch.Size]


class _Pair(NamedTuple):
    """A run in backward, and one in the forward pass that it may repeat."""

    told: list[Told]
    """What differs."""
    values: list[tuple[str, _Key, int]]
    """Modules whose inputs are compared by value: the module, the group of its comparison, and the place in that."""


class Comparison:
    """Compares runs over one step. Values are compared on their device, which is waited for once, at the end."""

    def __init__(self) -> None:
        self._asked: list[tuple[str, list[_Pair]]] = []
        self._waiting: dict[_Key, list[tuple[torch.Tensor, torch.Tensor]]] = {}
        self._results: dict[_Key, list[torch.Tensor]] = {}
        self._counts: dict[_Key, int] = {}

    def add(self, again: Run, candidates: list[Run]) -> None:
        """Compare a run in backward with those that it may repeat, the likeliest first.

        Only one has to be like it: passes of one step may run again in any order.
        """
        if candidates:
            self._asked.append((again.layer, [self._compared(first, again) for first in candidates]))

    def settle(self) -> None:
        """Compare the values that wait for it, so that their copies can go."""
        for key, pairs in self._waiting.items():
            self._results.setdefault(key, []).append(samples.differ(pairs))
        self._waiting.clear()

    def told(self) -> list[tuple[str, Told]]:
        """What differs, with the layer; of each kind in each layer the first."""
        self.settle()
        is_other = {key: torch.cat(parts).tolist() for key, parts in self._results.items()}
        kept: dict[tuple[str, str], Told] = {}
        for layer, pairs in self._asked:
            found = [self._resolved(pair, is_other) for pair in pairs]
            if all(found):
                for one in found[0]:
                    kept.setdefault((layer, one["what"]), one)
        return [(layer, one) for (layer, _), one in kept.items()]

    @staticmethod
    def _resolved(pair: _Pair, is_other: dict[_Key, list[bool]]) -> list[Told]:
        # Values follow from the other kinds: what is behind them is told alone.
        if pair.told:
            return pair.told
        other = next((module for module, key, place in pair.values if is_other[key][place]), None)
        return [] if other is None else [{"what": "values", "module": other, "forward": "", "again": ""}]

    def _compared(self, first: Run, again: Run) -> _Pair:
        told = [*_keywords(first, again), *_arithmetic(first, again), *_random(first, again), *_shapes(first, again)]
        return _Pair(told, [] if told else list(self._values(first, again)))

    def _values(self, first: Run, again: Run) -> Iterator[tuple[str, _Key, int]]:
        both = [(one.module, one.samples, other.samples) for one, other in zip(first.entries, again.entries)]
        if first.output is not None and again.output is not None:
            both.append(("", (first.output,), (again.output,)))
        for module, ones, others in both:
            for one, other in zip(ones, others):
                if one.shape == other.shape and one.dtype == other.dtype and one.device == other.device:
                    key = (one.device, one.dtype, one.shape)
                    self._waiting.setdefault(key, []).append((one, other))
                    self._counts[key] = place = self._counts.get(key, -1) + 1
                    yield module, key, place


def _keywords(first: Run, again: Run) -> Iterator[Told]:
    if first.keywords is None or again.keywords is None:
        return
    lost = first.keywords - again.keywords - watch.CACHE_KEYWORDS
    if lost:
        yield {"what": "keywords", "forward": ", ".join(sorted(lost)), "again": ""}


def _arithmetic(first: Run, again: Run) -> Iterator[Told]:
    if first.arithmetic != again.arithmetic:
        yield {"what": "arithmetic", "forward": first.arithmetic, "again": again.arithmetic}


def _random(first: Run, again: Run) -> Iterator[Told]:
    """Whether a layer that draws random numbers began with other random states."""
    if first.draws and first.random != again.random:
        yield {"what": "random numbers", "forward": "", "again": ""}


def _shapes(first: Run, again: Run) -> Iterator[Told]:
    """The first module that got tensors of other shapes or types; the second run may have stopped early."""
    for one, other in zip(first.entries, again.entries):
        if one.module != other.module:
            yield {"what": "modules", "forward": one.module, "again": other.module}
            return
        if one.shapes != other.shapes:
            yield {"what": "shapes", "module": one.module, **_other_shape(one, other)}
            return


def _other_shape(one: Entry, other: Entry) -> Told:
    pair = next((a, b) for a, b in zip_longest(one.shapes, other.shapes) if a != b)
    return {"forward": samples.words(pair[0]), "again": samples.words(pair[1])}
