"""What need not be run: combinations whose code that matters is the same make one group, and one of it is run."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ckptdoctor import catalog
from ckptdoctor.matrix.combination import Combination
from ckptdoctor.matrix.fingerprints import Fingerprint, place_among
from ckptdoctor.model.compatibility import Run
from ckptdoctor.model.report import DECIDED
from ckptdoctor.model.sources import UNKNOWN, own_version
from ckptdoctor.planning.options import FALLBACK_FAMILIES

Fingerprints = Mapping[str, Mapping[str, Fingerprint | None]]
"""The fingerprint of each release, by package; None for a release that could not be read, and for packages that are not."""


@dataclass
class Group:
    """Combinations that cannot but have the same verdict, newest releases first."""

    members: list[Combination]
    reserve: set[Combination] = field(default_factory=set)
    """Members that are run only where no other is left, such as those made for another Python."""
    lacks_model: bool = False
    """The release of transformers has no such model family, as its archive shows."""
    errors_speak: bool = False
    """That a family cannot be run tiny in one release says that it cannot in another one with the same code."""
    distrusted: bool = False
    """An audit found two of them to differ."""

    def evidence(self, runs: Mapping[Combination, Run]) -> Combination | None:
        """The member whose run speaks for all: one that could be diagnosed."""
        if self.distrusted:
            return None
        return next((one for one in self.members if one in runs and self._speaks(runs[one])), None)

    def _speaks(self, run: Run) -> bool:
        # That one release cannot be installed or imported says nothing of the others; that it lacks the model does.
        return run.verdict != "error" or ((self.lacks_model or self.errors_speak) and bool(run.packages))

    def waiting(self, runs: Mapping[Combination, Run]) -> list[Combination]:
        """Those that may be run next; none once all is known."""
        if self.evidence(runs) is not None:
            return []
        return [one for one in self.members if one not in runs]


def with_models(combinations: Iterable[Combination], fingerprints: Fingerprints) -> list[Combination]:
    """The same, with the model family that fits, if the request names none and the release was read."""
    return [Combination(one.releases, one.model or _family(one, fingerprints)) for one in combinations]


def _family(combination: Combination, fingerprints: Fingerprints) -> str:
    release = combination.stack.get("transformers", "")
    fingerprint = fingerprints.get("transformers", {}).get(release)
    return next((family for family in FALLBACK_FAMILIES if fingerprint and family in fingerprint.digests), "")


def without_lacking(
    combinations: Sequence[Combination], fingerprints: Fingerprints
) -> tuple[list[Combination], dict[str, list[str]]]:
    """Combinations less those whose release of transformers has no such family, where it has another one that is asked for.

    Returns:
        What is left, and by family the releases of transformers that lack it.
    """
    there: dict[str, set[str]] = {}
    for release, fingerprint in fingerprints.get("transformers", {}).items():
        there[release] = set(fingerprint.digests) if fingerprint else set()
    left, lacking = [], dict[str, list[str]]()
    for one in combinations:
        release = one.stack.get("transformers", "")
        if there.get(release) and one.model not in there[release]:
            lacking.setdefault(one.model, []).append(release)
        else:
            left.append(one)
    return left, {family: list(dict.fromkeys(releases)) for family, releases in lacking.items()}


def groups(
    combinations: Sequence[Combination], fingerprints: Fingerprints, last: Collection[tuple[str, str]] = ()
) -> list[Group]:
    """Combinations by the code that matters in them.

    Args:
        combinations: Oldest releases first.
        fingerprints: What is known of their code.
        last: Releases to be tried only where no other is left, such as those made for another Python.
    """
    by_code: dict[tuple[object, ...], Group] = {}
    for combination in reversed(combinations):
        code = tuple(_code(combination, name, release, fingerprints) for name, release in combination.releases)
        code += _comparisons(combination, fingerprints)
        lacks_model = any(isinstance(part, tuple) and part[0] == "no such family" for part in code)
        group = by_code.setdefault((combination.model, *code), Group([], lacks_model=lacks_model))
        group.members.append(combination)
        if any(release in last for release in combination.releases):
            group.reserve.add(combination)
    return list(by_code.values())


def _code(combination: Combination, name: str, release: str, fingerprints: Fingerprints) -> object:
    """What identifies a release: its code that matters, or the release itself if its code is not known."""
    fingerprint = fingerprints.get(name, {}).get(release)
    if fingerprint is None:
        return name, release
    if catalog.is_trainer(name):
        return name, tuple(sorted(fingerprint.digests.items()))
    if combination.model not in fingerprint.digests:
        return "no such family", combination.model
    return name, fingerprint.digests[combination.model]


def _comparisons(combination: Combination, fingerprints: Fingerprints) -> tuple[object, ...]:
    """The position of transformers among the versions that the trainer's code names and may compare with."""
    stack = combination.stack
    release = own_version(stack.get("transformers", ""))
    if release == UNKNOWN:
        return (stack["transformers"],)
    found = [
        fingerprint
        for name in stack
        if catalog.is_trainer(name) and (fingerprint := fingerprints.get(name, {}).get(stack[name]))
    ]
    return tuple(place_among(release, fingerprint.compared) for fingerprint in found if release)


def choose(waiting: Sequence[Group], runs: Mapping[Combination, Run]) -> list[Combination]:
    """One combination of each group that waits, with as few environments in all as can be had simply."""
    bases = {one.base() for one in runs}
    trainers = {one.trainer_requirement for one in runs}
    chosen = []
    for group in sorted(waiting, key=lambda group: len(group.members)):
        left = group.waiting(runs)
        if group.distrusted:
            chosen += left
            continue
        pick = min(
            left, key=lambda c: (c in group.reserve, c.base() not in bases, c.trainer_requirement not in trainers)
        )
        bases.add(pick.base())
        trainers.add(pick.trainer_requirement)
        chosen.append(pick)
    return chosen


def difference(found: Run, expected: Run, errors_speak: bool = False) -> str:
    """In what two runs differ that should not; empty where one could not be diagnosed, unless that says something."""
    if not errors_speak and not {found.verdict, expected.verdict} <= set(DECIDED):
        return ""
    if found.verdict != expected.verdict:
        return f"{found.verdict}, not {expected.verdict}"
    ours, theirs = (
        {(one.function, one.engine): (one.verdict, one.rules) for one in run.functions} for run in (found, expected)
    )
    return "" if ours == theirs else f"{found.verdict} as well, but not by the same rules"
