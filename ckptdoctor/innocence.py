"""Who is not to blame, and which runs show it."""

from __future__ import annotations

from ckptdoctor.evidence import Environment, Evidence
from ckptdoctor.report import Innocent
from ckptdoctor.rules import Case, Fired
from ckptdoctor.rules.case import is_sound
from ckptdoctor.wording import engines_in_words, listed


def find(cases: list[Case], fired: Fired, environment: Environment) -> list[Innocent]:
    """The packages that a finding clears.

    Args:
        cases: The probes on which the rule fired, all for one fault.
        fired: What the rule says of it.
        environment: The target.
    """
    accused = {place.package for place in (fired.culprit, fired.handed_over_by) if place is not None}
    found = [
        _deepspeed(cases, environment),
        _torch(cases, environment),
        _without_engine(cases, environment),
        _trainer(cases, environment),
    ]
    return [one for one in found if one is not None and one.package not in accused]


def _deepspeed(cases: list[Case], environment: Environment) -> Innocent | None:
    """DeepSpeed, when the same happens in a process that has not imported it."""
    without = [one.id for case in cases for one in _without_deepspeed(case)]
    version = environment.version("deepspeed")
    if not version or not without:
        return None
    with_it = [case for case in cases if case.spec.engine.startswith("zero")]
    lines = " at the same two lines" if fired_at_lines(cases) else ""
    reason = f"the same happens{lines} in a process that has not imported DeepSpeed"
    if with_it:
        stages = listed(sorted({case.spec.engine[-1] for case in with_it}))
        reason += f", and under real ZeRO {stages}"
    ids = dict.fromkeys((*without, *(case.spec.id for case in with_it)))
    return Innocent("deepspeed", version, reason, list(ids))


def _without_deepspeed(case: Case) -> list[Evidence]:
    """Probes with the same outcome, in a process without it: the case itself, or the same step without an engine."""
    alone = case.without_deepspeed()
    same = [case.evidence, *([alone] if alone is not None and case.stops_like(alone) else [])]
    return [one for one in same if one.modules and "deepspeed" not in one.modules]


def fired_at_lines(cases: list[Case]) -> bool:
    """Whether all the probes stopped in an exception that was raised at the very same line."""
    ends = {
        (case.evidence.error.frames[-1].file, case.evidence.error.frames[-1].line)
        for case in cases
        if case.evidence.error and case.evidence.error.frames
    }
    return len(ends) == 1


def _torch(cases: list[Case], environment: Environment) -> Innocent | None:
    """torch, when its own function trains the same model, handed the same callable."""
    passing = sorted({name for case in cases for name in case.passes_with_torch()})
    if not passing or any(case.spec.function.startswith("torch:") for case in cases):
        return None
    reason = "its own checkpoint function trains the same model, handed the same callable"
    return Innocent("torch", environment.version("torch"), reason, passing)


def _without_engine(cases: list[Case], environment: Environment) -> Innocent | None:
    """The model's side, when the fault needs an engine: the same function trains the same model without one."""
    if any(not case.spec.engine.startswith("zero") for case in cases):
        return None
    siblings = [case.sibling(engine="none") for case in cases]
    passing = sorted({one.id for one in siblings if one is not None and is_sound(one)})
    version = environment.version("transformers")
    if not passing or not version:
        return None
    engines = engines_in_words(case.spec.engine for case in cases)
    reason = f"the same model trains with the same checkpoint function without {engines}"
    return Innocent("transformers", version, reason, passing)


def _trainer(cases: list[Case], environment: Environment) -> Innocent | None:
    """The trainer, when torch's own function ends in the same error in its place."""
    packages = {case.spec.function.partition(":")[0] for case in cases}
    if len(packages) != 1 or not all(case.fails_alike_with_torch() for case in cases):
        return None
    package = packages.pop()
    alike = [one.id for case in cases if (one := case.sibling(function="torch:non-reentrant")) is not None]
    reason = "torch's own checkpoint function ends in the same error in its place"
    return Innocent(package, environment.version(package), reason, alike)
