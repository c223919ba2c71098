"""CKPT900: a probe could not be judged."""

from __future__ import annotations

import re
from itertools import pairwise

from ckptdoctor.model.evidence import Evidence
from ckptdoctor.rules import attribute_contract
from ckptdoctor.rules.common.case import BEFORE, Case
from ckptdoctor.rules.common.rule import Rule, RuleHit
from ckptdoctor.rules.common.soundness import innermost_own, works
from ckptdoctor.words.wording import engines_in_words, listed, owner, relative


def judge(case: Case) -> RuleHit | None:
    """Fires if a probe ended before checkpointing was used, or failed for another reason than checkpointing."""
    evidence = case.evidence
    if case.spec.observed:
        return _unobserved(case)
    if evidence.missing and not works(evidence) and attribute_contract.judge(case) is None:
        return RuleHit(
            title=f"{case.spec.function} needs {listed(evidence.missing)}, not installed here",
            detail="A stub replaced the missing package, so this result means nothing.",
            culprit=case.function,
        )
    if case.is_undecided:
        return RuleHit(
            title=f"{case.spec.function} needs a GPU in backward, and there is none here",
            detail=f"{'' if evidence.loss is None else 'Only its forward pass was judged. '}{_why_undecided(evidence)}",
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


def _unobserved(case: Case) -> RuleHit | None:
    """The hit on a job whose layers could not be watched; an error of its own is told with what is known of it."""
    if not case.evidence.unobserved:
        return None
    return RuleHit(
        title=f"The layers of {case.model_text} were not observed",
        detail=f"{case.evidence.unobserved}. Whether they are checkpointed is not known.",
    )


def _fails_anyway(case: Case) -> bool:
    """Whether the step fails without checkpointing as well."""
    control = case.control() if case.is_checkpointed else None
    return not case.is_checkpointed if control is None else control.ended != "returned"


def _lacking(case: Case) -> RuleHit | None:
    """The hit if the step lacks a GPU, an importable package or a program."""
    evidence = case.evidence
    if evidence.error and evidence.error.needs_cuda:
        return RuleHit(
            title=f"{case.spec.function} needs CUDA in its forward pass, and there is no GPU here",
            detail=f"The function was not judged. {evidence.why}".rstrip(),
            culprit=case.function,
        )
    if _does_not_import(evidence):
        return _import_fault(case)
    program = _missing_program(evidence)
    if not program:
        return None
    caller = innermost_own(evidence.error.frames if evidence.error else [])
    return RuleHit(
        title=f"{owner(caller, 'A package')} needs the program `{program}`, which is not on this machine",
        detail=f"Install `{program}` with the system's package manager, or leave this engine out with --engine.",
        culprit=caller,
    )


def _failing(case: Case) -> RuleHit:
    """The hit if the step, or the code before it, fails for another reason than checkpointing."""
    evidence = case.evidence
    title, detail = f"{case.spec.model} under {_engine(case)} cannot be probed here", evidence.why
    if lost := case.lost_control():
        title = f"The step without checkpointing did not finish under {_engine(case)}"
        detail = f"So checkpointing cannot be judged there. The step ended like this: {lost.why}."
    elif case.is_checkpointed and case.control() is not None and _fails_anyway(case):
        title = f"The step also fails without checkpointing, under {_engine(case)}"
        detail = f"So checkpointing cannot be judged there. {evidence.why}".rstrip()
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
    """The hit if the model cannot be imported: which line fails, and whether DeepSpeed is needed for the failure."""
    error = case.evidence.error
    frames = error.frames if error else []
    own = [frame for frame in frames if frame.package not in ("", "python")]
    circle = error is not None and "partially initialized module" in error.message
    # In a circular import, the first package is half loaded. The package that imports it again is the culprit.
    others = [frame for frame in own if frame.package != own[0].package] if circle and own else []
    alone = case.without_deepspeed()
    works_alone = alone is not None and alone.during not in BEFORE
    detail = ""
    if others:
        crossings = [before for before, after in pairwise(own) if before.package != after.package]
        route = ", then ".join(f"{relative(one.file)}:{one.line}" for one in crossings)
        detail = f"{owner(own[0], 'One package')} and {owner(others[-1], 'another')} import each other: {route}."
    if works_alone:
        detail += " With DeepSpeed hidden, the model can be imported."
    beside = " with the installed DeepSpeed" if works_alone else ""
    return RuleHit(
        title=f"{case.spec.model} cannot be imported{beside}",
        detail=detail.strip(),
        culprit=others[-1] if others else own[-1] if own else case.raised_at,
    )


def _missing_program(evidence: Evidence) -> str:
    """The program that a package could not start because it is not installed; empty for any other error."""
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
        return "When simulated on the CPU, its backward pass still asks for a GPU."
    return (
        f"When simulated on the CPU, its backward pass is right in {tried.precision} and not in {evidence.precision}."
    )


RULE = Rule(
    code="CKPT900",
    name="not-diagnosed",
    meaning="Part or all of the environment could not be diagnosed.",
    explanation="""\
ckptdoctor could not find out whether checkpointing works. It exits with status 3, unless another rule found an error. Causes:

- A package is missing or cannot be imported, or the model cannot be built.
- The step also fails without checkpointing.
- The machine ran out of memory, processes, open files or shared memory.
- The step without checkpointing was killed or timed out, and the step with checkpointing fails. The cause cannot be told.
- The checkpoint function needs a GPU, this machine has none, and a simulation on the CPU does not show how the function
  behaves. The function is *not judged*.

If the step without checkpointing or the step with torch's own function does not finish, and the function under test trains
correctly, the function still counts as working. A note names the step that did not finish.

Fix: leave out what you do not use. `--engine none` is for a job without DeepSpeed, `--checkpoint-fn torch` for a job that
does not use the trainer's own function.""",
    links=(),
    judge=judge,
    not_judged=True,
)
