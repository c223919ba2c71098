"""Combinations put together into boxes: runs of neighbouring releases of each package."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import product
from typing import TypeVar

from ckptdoctor import catalog

Box = dict[str, tuple[str, ...]]
"""Neighbouring releases by package: it stands for every combination of them."""

Key = tuple[tuple[str, str], ...]
"""A combination: package and release, in the order of the axes."""

Axes = Mapping[str, Sequence[str]]

_T = TypeVar("_T", bound=Hashable)

_NOWHERE = -2
"""Where a release that is not on its axis stands: next to no other."""


def key_of(stack: Mapping[str, str], packages: Iterable[str]) -> Key:
    """What tells a stack apart from others, as far as it is about the given packages."""
    return tuple((package, stack[package]) for package in packages if package in stack)


def joined(boxes: Iterable[tuple[Box, _T]], axes: Axes) -> list[tuple[Box, _T]]:
    """Joins boxes with equal content that differ in one package only and there are neighbours on the axis.

    Args:
        boxes: Boxes, each with its content.
        axes: Releases by package, oldest first.

    Returns:
        The same combinations in fewer boxes, in the order of the axes.
    """
    found = list(boxes)
    for package in axes:
        found = _joined_along(package, found, axes[package])
    return in_order(found, axes)


def _joined_along(package: str, boxes: list[tuple[Box, _T]], releases: Sequence[str]) -> list[tuple[Box, _T]]:
    at = _places(releases)
    lines: dict[tuple[Hashable, _T], list[Box]] = {}
    for box, content in boxes:
        others = tuple(sorted((name, run) for name, run in box.items() if name != package))
        lines.setdefault(((package in box, others), content), []).append(box)
    result: list[tuple[Box, _T]] = []
    for (_, content), line in lines.items():
        result += [(box, content) for box in _one_line(package, line, at)]
    return result


def _one_line(package: str, line: list[Box], at: dict[str, int]) -> list[Box]:
    if package not in line[0]:
        return line
    result: list[Box] = []
    for box in sorted(line, key=lambda box: at.get(box[package][0], _NOWHERE)):
        start, last = at.get(box[package][0], _NOWHERE), result[-1] if result else None
        if last is not None and at.get(last[package][-1], _NOWHERE) + 1 == start:
            result[-1] = {**last, package: last[package] + box[package]}
        else:
            result.append(box)
    return result


def in_order(boxes: Iterable[tuple[Box, _T]], axes: Axes) -> list[tuple[Box, _T]]:
    """Sorts boxes by the axes, the first package first; what lacks a package comes after what has it."""
    places = {package: _places(releases) for package, releases in axes.items()}

    def place(entry: tuple[Box, _T]) -> list[int]:
        box = entry[0]
        return [at.get(box[name][0], _NOWHERE) if name in box else len(at) for name, at in places.items()]

    return sorted(boxes, key=place)


def _places(releases: Sequence[str]) -> dict[str, int]:
    return {release: index for index, release in enumerate(releases)}


def inside(box: Box) -> Iterable[Key]:
    """Every combination that a box stands for."""
    for releases in product(*box.values()):
        yield tuple(zip(box, releases, strict=True))


def span(releases: Sequence[str]) -> str:
    """Neighbouring releases in a few characters: ``4.51.0 - 5.22.2``."""
    return releases[0] if len(releases) == 1 else f"{releases[0]} - {releases[-1]}"


def label(box: Box, packages: Iterable[str]) -> str:
    """A box in words, as far as it is about the given packages: ``llamafactory 0.9.3 - 0.9.5, python 3.11``."""
    wanted = list(packages)
    parts = [f"{package} {span(box[package])}" for package in wanted if package in box]
    if any(catalog.is_trainer(package) for package in wanted) and not any(
        catalog.is_trainer(package) for package in box
    ):
        parts.insert(0, "no trainer")
    return ", ".join(parts)
