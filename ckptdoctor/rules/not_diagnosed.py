"""CKPT900: a probe could not be judged, so nothing is claimed."""

from __future__ import annotations

import re
from itertools import pairwise

from ckptdoctor.model.evidence import Evidence
from ckptdoctor.rules import attribute_contract
from ckptdoctor.rules.common.case import BEFORE, Case, innermost_own, works
from ckptdoctor.rules.common.rule import Rule, RuleHit
from ckptdoctor.words.wording import engines_in_words, listed, owner, relative


def judge(case: Case) -> RuleHit | None:
    """Fires when a probe ended before checkpointing came into it, or fails for want of something else than checkpointing."""
    evidence = case.evidence
    if evidence.missing and not works(evidence) and attribute_contract.judge(case) is None:
        return RuleHit(
            title=f"{case.spec.function} needs {listed(evidence.missing)}, not installed here",
            detail="A stub replaced the missing package, so this result means nothing.",
            culprit=case.function,
        )
    if case.is_undecided:
        return RuleHit(
            title=f"{case.spec.function} needs a GPU in backward, and there is none here",
            detail=f"Only its forward pass was judged. {_why_undecided(evidence)}",
            culprit=case.function,
            error=evidence.stand_in.error if evidence.stand_in else None,
        )
    if evidence.ended == "returned" or case.is_impossible_variant:
        return None
    if evidence.unfit:
        return RuleHit(title=f"This machine cannot run the step under {_engine(case)}", detail=f"{evidence.why}.")
    came_too_early = evidence.ended == "skipped" or case.ended_before_checkpointing or case.fails_to_import
    needs_cuda = bool(evidence.error and evidence.error.needs_cuda)
    if not came_too_early and not _fails_anyway(case) and not needs_cuda:
        return None
    return _lacking(case) or _failing(case)


def _fails_anyway(case: Case) -> bool:
    """Whether the step fails without checkpointing as well."""
    control = case.control() if case.is_checkpointed else None
    return not case.is_checkpointed if control is None else control.ended != "returned"


def _lacking(case: Case) -> RuleHit | None:
    """Something is missing that the step needs: a GPU, a package that can be imported, a program."""
    evidence = case.evidence
    if evidence.error and evidence.error.needs_cuda:
        return RuleHit(
            title=f"{case.spec.function} needs CUDA in its forward pass, and there is no GPU here",
            detail=f"It was not judged. {evidence.why}".rstrip(),
            culprit=case.function,
        )
    if _does_not_import(evidence):
        return _import_fault(case)
    program = _missing_program(evidence)
    if not program:
        return None
    caller = innermost_own(evidence.error.frames if evidence.error else [])
    return RuleHit(
        title=f"{owner(caller, 'A package')} runs `{program}`, a program that is not on this machine",
        detail=f"Install `{program}` with the system's package manager, or use --engine to leave this engine out.",
        culprit=caller,
    )


def _failing(case: Case) -> RuleHit:
    """The step, or what comes before it, fails for another reason than checkpointing."""
    evidence = case.evidence
    title, detail = f"{case.spec.model} under {_engine(case)} cannot be probed here", evidence.why
    if lost := case.lost_control():
        title = f"The step without checkpointing did not come to an end under {_engine(case)}"
        detail = f"So nothing can be said of checkpointing there. It ended so: {lost.why}."
    elif case.is_checkpointed and case.control() is not None and _fails_anyway(case):
        title = f"The step fails without checkpointing as well, under {_engine(case)}"
        detail = f"So nothing can be said of checkpointing there. {evidence.why}".rstrip()
    elif case.fails_to_import:
        title = f"{case.spec.function} cannot be imported"
    return RuleHit(title=title, detail=detail, culprit=case.raised_at)


def _engine(case: Case) -> str:
    return engines_in_words([case.spec.engine])


def _does_not_import(evidence: Evidence) -> bool:
    error = evidence.error
    is_import_error = error is not None and error.type.rpartition(".")[2] in ("ImportError", "ModuleNotFoundError")
    return is_import_error and evidence.during in BEFORE


def _import_fault(case: Case) -> RuleHit:
    """The model cannot be imported: which line fails, and whether it takes DeepSpeed."""
    error = case.evidence.error
    frames = error.frames if error else []
    own = [frame for frame in frames if frame.package not in ("", "python")]
    circle = error is not None and "partially initialized module" in error.message
    # In a circle, the package that is entered half-way is the one to load first; who enters it again is the culprit.
    others = [frame for frame in own if frame.package != own[0].package] if circle and own else []
    alone = case.without_deepspeed()
    works_alone = alone is not None and alone.during not in BEFORE
    detail = ""
    if others:
        borders = [before for before, after in pairwise(own) if before.package != after.package]
        route = ", then ".join(f"{relative(one.file)}:{one.line}" for one in borders)
        detail = f"{owner(own[0], 'One package')} and {owner(others[-1], 'another')} import each other: {route}."
    if works_alone:
        detail += " The model can be imported where DeepSpeed is hidden."
    beside = " beside the installed DeepSpeed" if works_alone else ""
    return RuleHit(
        title=f"{case.spec.model} cannot be imported{beside}",
        detail=detail.strip(),
        culprit=others[-1] if others else own[-1] if own else case.raised_at,
    )


def _missing_program(evidence: Evidence) -> str:
    """The program that a package wanted to run, and that is not there; empty where that is not the error."""
    error = evidence.error
    if error is None or error.type != "FileNotFoundError" or not error.frames:
        return ""
    found = re.search(r"No such file or directory: '([^'/]+)'$", error.message)
    return found.group(1) if found and error.frames[-1].file.endswith("subprocess.py") else ""


def _why_undecided(evidence: Evidence) -> str:
    tried = evidence.stand_in
    if tried is None:
        return "The backward pass was not simulated."
    if tried.error is not None:
        return "Simulated on the CPU, its backward pass still asks for a GPU."
    return f"Simulated on the CPU, its backward pass is right in {tried.precision} only, not in {evidence.precision}."


RULE = Rule(
    code="CKPT900",
    name="not-diagnosed",
    meaning="The target could not be diagnosed, as a whole or in part.",
    explanation="""\
A package does not import or is missing, a model cannot be built, or the step fails without checkpointing too. That is a
stack that cannot be diagnosed, which is neither a stack that works nor one that triggers a fault: ckptdoctor ends with
status 3 unless it has found something else.

A machine that runs out of memory, processes, open files or shared memory ends with status 3 as well. So does a probe that fails
beside a step without checkpointing that was killed or timed out: whose fault it is cannot be told. A step without
checkpointing, or with torch's own function, that alone does not end takes nothing from a function that trains soundly: a note
names it.

A checkpoint function that needs a GPU is *not judged* on a machine without one, if not even its simulation on the CPU shows
how it behaves. Status 3 too: nothing is known of it.

Leave out what you do not use: `--engine none` for a job without DeepSpeed, `--checkpoint-fn torch` for one that does not
use the trainer's own function.""",
    links=(),
    judge=judge,
    not_judged=True,
)
