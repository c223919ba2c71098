"""Which packages are not to blame, and which probes show it."""

from __future__ import annotations

from ckptdoctor import catalog
from ckptdoctor.model.evidence import Environment, Evidence
from ckptdoctor.model.report import RuledOut
from ckptdoctor.planning.options import COURSE, TORCH
from ckptdoctor.rules import Case, RuleHit
from ckptdoctor.rules.common.soundness import works
from ckptdoctor.words.wording import engines_in_words


def find(cases: list[Case], fired: RuleHit, environment: Environment) -> tuple[RuledOut, ...]:
    """The packages that are ruled out for a finding.

    Args:
        cases: The probes on which the rule fired for one fault.
        fired: The hit of the rule.
        environment: The target.
    """
    accused = {place.package for place in (fired.culprit, fired.passed_by) if place is not None}
    found = [
        _deepspeed(cases, fired, environment),
        _torch(cases, environment),
        _without_engine(cases, environment),
        _trainer(cases, environment),
    ]
    return tuple(one for one in found if one is not None and one.package not in accused)


def _deepspeed(cases: list[Case], fired: RuleHit, environment: Environment) -> RuledOut | None:
    """DeepSpeed, if the same happens without DeepSpeed imported, for every model and function."""
    without = {_what(case): found for case in cases if (found := _without_deepspeed(case))}
    version = environment.version("deepspeed")
    if not version or {_what(case) for case in cases} != set(without):
        return None
    with_it = [case for case in cases if catalog.needs(case.spec.engine, "deepspeed")]
    reason = f"the same happens{_at_which_lines(cases, fired)} in a process that has not imported DeepSpeed"
    if with_it:
        reason += f", and under {engines_in_words(case.spec.engine for case in with_it)}"
    ids = [one.id for case in cases for one in _without_deepspeed(case)]
    return RuledOut("deepspeed", version, reason, tuple(dict.fromkeys((*ids, *(case.spec.id for case in with_it)))))


def _what(case: Case) -> tuple[str, str]:
    return case.spec.model, case.spec.function


def _without_deepspeed(case: Case) -> list[Evidence]:
    """Probes with the same outcome without DeepSpeed imported: the case itself, or the same step without an engine."""
    alone = case.without_deepspeed()
    same = [case.evidence, *([alone] if alone is not None and case.stops_like(alone) else [])]
    return [one for one in same if one.modules and "deepspeed" not in one.modules]


def _at_which_lines(cases: list[Case], fired: RuleHit) -> str:
    """Where the probes stopped, as part of a sentence; empty if they stopped at several lines or without an exception."""
    errors = [case.evidence.error for case in cases]
    ends = {(error.frames[-1].file, error.frames[-1].line) for error in errors if error and error.frames}
    if len(ends) != 1 or not all(error and error.frames for error in errors):
        return ""
    given = {(place.file, place.line) for case in cases if (place := case.passed_by) is not None}
    return " at the same two lines" if fired.passed_by is not None and len(given) == 1 else " at the same line"


def _torch(cases: list[Case], environment: Environment) -> RuledOut | None:
    """torch, if one of its own functions trains the same model in every case where it was run, and none fails alike."""
    if any(case.spec.function.startswith("torch:") for case in cases):
        return None
    tried = [(case, one) for case in cases for one in case.with_torch()]
    if any(case.stops_like(one) for case, one in tried) or any(case.wrong_as_torchs_reentrant() for case in cases):
        return None
    for name in TORCH:
        own = [(case, one) for case in cases if (one := case.sibling(function=name)) is not None]
        if own and all(works(one) for _, one in own):
            same = all(_callable_of(case.evidence) == _callable_of(one) for case, one in own)
            given = ", with the same callable" if same else ""
            reason = f"its own checkpoint function trains the same model{given}"
            passing = tuple(sorted({one.id for _, one in tried if works(one)}))
            return RuledOut("torch", environment.version("torch"), reason, passing)
    return None


def _callable_of(evidence: Evidence) -> str:
    return evidence.handovers[-1].callable.text if evidence.handovers else ""


def _without_engine(cases: list[Case], environment: Environment) -> RuledOut | None:
    """transformers, if the fault needs an engine: the same function trains the same model without one."""
    if not all(catalog.engines()[case.spec.engine].owner for case in cases):
        return None
    siblings = [one for case in cases if (one := case.sibling(engine="none")) is not None]
    version = environment.version("transformers")
    if len(siblings) != len(cases) or not all(map(works, siblings)) or not version:
        return None
    engines = engines_in_words(case.spec.engine for case in cases)
    reason = f"the same model trains with the same checkpoint function without {engines}"
    return RuledOut("transformers", version, reason, tuple(sorted({one.id for one in siblings})))


def _trainer(cases: list[Case], environment: Environment) -> RuledOut | None:
    """The trainer, if torch's own function fails with the same error, or gets the same gradients wrong."""
    cases = [case for case in cases if case.spec.variant != COURSE] or cases  # what torch makes of a course is no probe
    packages = {catalog.package_of(case.spec.function) for case in cases}
    torchs = [_torch_alike(case) for case in cases]
    if len(packages) != 1 or not all(torchs):
        return None
    package = packages.pop()
    if package == "torch" or not environment.version(package):
        return None  # torch's own function, or the user's
    alike = tuple(one.id for case, name in zip(cases, torchs, strict=True) if (one := case.sibling(function=name)))
    is_error = all(case.evidence.error for case in cases)
    reason = "torch's own checkpoint function " + (
        "fails with the same error" if is_error else "gets the same gradients wrong"
    )
    return RuledOut(package, environment.version(package), reason, alike)


def _torch_alike(case: Case) -> str:
    """The one of torch's own functions that fails as another function does; empty if none does."""
    if case.wrong_as_torchs_reentrant():
        return "torch:reentrant"
    return "torch:non-reentrant" if case.fails_alike_with_torch() else case.clashes_with_engine()
