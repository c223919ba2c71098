"""Releases of DeepSpeed that may fix a finding which needs DeepSpeed: the same model trains without it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from packaging.version import Version

from ckptdoctor import knowledge
from ckptdoctor.model.compatibility import Run
from ckptdoctor.model.report import Remedy
from ckptdoctor.model.workers import FULL_STACK
from ckptdoctor.planning.options import NO_FUNCTION, TORCH
from ckptdoctor.remedies import versions
from ckptdoctor.remedies.candidates import Candidate, Newer, by_step
from ckptdoctor.remedies.context import RemedyContext
from ckptdoctor.rules import Case
from ckptdoctor.words.wording import engines_in_words, listed

PACKAGE = "deepspeed"


def concerns(cases: Sequence[Case]) -> bool:
    """Whether a finding needs DeepSpeed: all its probes ran with DeepSpeed, and the same model trains without."""
    return bool(cases) and all(case.planned.worker == FULL_STACK and _trains_without(case) for case in cases)


def _trains_without(case: Case) -> bool:
    same = case.without_deepspeed()
    if case.evidence.unfit or (same is not None and case.stops_like(same)):
        return False
    plain = case.sibling(engine="none", function=NO_FUNCTION, variant="", as_installed=False)
    return plain is not None and plain.ended == "returned"


def known(cases: Sequence[Case], context: RemedyContext) -> dict[str, Run]:
    """Releases that were measured to work with the rest of this stack, under the engines of the finding, by release.

    If the step also fails without checkpointing, measurements with torch's own functions are enough: they show that the model
    trains. Other settings of a job were not measured.
    """
    environment = context.environment
    transformers = environment.version("transformers")
    usual = all(case.spec.setup.is_usual and not case.spec.variant for case in cases)
    if not usual or context.edited.keys() & {"transformers"}:
        return {}
    found: dict[str, Run] = {}
    measured = knowledge.load(knowledge.DEEPSPEED_FILE)
    for cell in measured.matching({"transformers": transformers}):
        run = measured.run_of(cell)
        if all(_is_ok(case, run, context) for case in cases):
            found.setdefault(cell.stack[PACKAGE], run)
    return found


def _is_ok(case: Case, run: Run, context: RemedyContext) -> bool:
    if {case.spec.model, case.evidence.family} & {run.model} == set():
        return False
    # Without an engine, DeepSpeed was hidden when the map was measured.
    engine = "zero0" if case.spec.as_installed else case.spec.engine
    ok = {one.function for one in run.functions if one.verdict == "ok" and one.engine == engine}
    if not case.is_sound_without_checkpointing():
        return set(TORCH) <= ok
    package = case.spec.function.partition(":")[0]
    same = package == "torch" or (
        run.stack.get(package) == context.environment.version(package) and package not in context.edited
    )
    return same and case.spec.function in ok


def candidates(cases: Sequence[Case], context: RemedyContext, newer: Newer) -> list[Candidate]:
    """Releases that are known to work, the smallest step first; else newer ones and the next older one, as guesses."""
    installed = context.environment.version(PACKAGE)
    measured = by_step(known(cases, context), installed)
    if measured:
        return [Candidate({PACKAGE: one}) for one in measured]
    axis = knowledge.load(knowledge.DEEPSPEED_FILE).axes[PACKAGE]
    newest = [*newer(PACKAGE, max([installed, axis[-1]], key=Version))[:1], axis[-1]]
    guesses = [one for one in newest if Version(one) > Version(installed)]
    guesses += [one for one in reversed(axis) if Version(one) < Version(installed)][:1]
    return [Candidate({PACKAGE: one}) for one in dict.fromkeys(guesses)]


def remedy(candidate: Candidate, cases: Sequence[Case], context: RemedyContext) -> Remedy:
    """A candidate as a remedy, with its measurements."""
    cost = "one package changes; its dependencies may change too"
    made = msgspec.structs.replace(versions.bare(candidate, context.environment), cost=cost)
    run = known(cases, context).get(candidate.changes[PACKAGE])
    if run is None:
        return made
    engines = engines_in_words(_engines(cases))
    transformers = f"transformers {run.stack['transformers']}"
    torch = f"torch {knowledge.load(knowledge.DEEPSPEED_FILE).torch}"
    evidence = f"measured on {run.date} with {listed([transformers, torch])}: ok under {engines}"
    return msgspec.structs.replace(made, evidence=evidence, is_measured=True)


def _engines(cases: Iterable[Case]) -> list[str]:
    return sorted({case.spec.engine for case in cases})
