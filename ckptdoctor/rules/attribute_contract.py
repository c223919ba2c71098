"""CKPT001: a checkpoint function reaches into the callable for what is not there."""

from __future__ import annotations

from ckptdoctor import catalog
from ckptdoctor.model.evidence import Error, Place, Setup
from ckptdoctor.planning.plan import OWN_MODEL
from ckptdoctor.rules.case import Case, Fired, Rule, works
from ckptdoctor.words.wording import owner


def judge(case: Case) -> Fired | None:
    """Fires on an attribute missing from the callable passed, and on what experiments show to be the same."""
    error, handover = case.evidence.error, case.handover
    if not case.is_checkpointed or case.evidence.ended != "raised" or error is None or handover is None:
        return None
    if case.evidence.during != "forward" or error.needs_cuda or not error.frames:
        return None
    # Without checkpointing, or with torch's function, the layer's own code would fail just the same.
    if not case.is_sound_without_checkpointing() and not case.passes_with_torch():
        return None
    is_read = error.attribute is not None and bool(error.attribute.in_callable)
    if not is_read and not _shown_by_experiment(case):
        return None
    reader = _reader(error, handover.by)
    what = f"reads `{error.attribute.name}` from" if is_read and error.attribute else "cannot work with"
    return Fired(
        title=f"{owner(reader, case.spec.function)} {what} a callable that {_has_none(case, error)}",
        detail=(
            f"{owner(handover.by, case.model_text)} passes each layer to the checkpoint function as "
            f"{handover.callable.text}. {owner(reader, case.spec.function)} expects another kind of callable."
        ),
        culprit=reader,
        passed_by=handover.by,
    )


def _has_none(case: Case, error: Error) -> str:
    if error.attribute is not None and error.attribute.in_callable:
        return "does not have it"
    return f"{owner(case.handover.by, case.model_text)} passes" if case.handover else "it was given"


def _reader(error: Error, handed_by: Place) -> Place:
    """The innermost frame below the hand-over that is not a library's helper."""
    below = error.frames
    for index, frame in enumerate(error.frames):
        if frame.is_at(handed_by):
            below = error.frames[index + 1 :]
    own = [frame for frame in below if frame.package not in ("python", "torch")]
    return (own or below or error.frames)[-1]


def _shown_by_experiment(case: Case) -> bool:
    """Whether the function fails on this callable before the layer runs, and works with another calling convention."""
    if case.evidence.error is not None and case.evidence.error.type == "RecursionError":
        return False  # the layer was found in the callable, and called again and again
    ran = any(layer.forwards for layer in case.evidence.layers)
    # The other conventions are tried without an engine: what shows under one only has another reason.
    return not ran and bool(case.passes_with_torch()) and case.shows_in_the_usual_step() and bool(works_with(case))


def works_with(case: Case) -> list[str]:
    """Calling conventions of our own model with which the same function trains."""
    return [
        planned.spec.convention
        for planned, evidence in case.others.values()
        if planned.spec.model == OWN_MODEL
        and _package(planned.spec.function) == _package(case.spec.function)
        and planned.spec.convention != case.spec.convention
        and _is_alike(planned.spec.setup, case.spec.setup)
        and works(evidence)
    ]


def _is_alike(one: Setup, other: Setup) -> bool:
    """Whether two steps differ in the calling convention alone; a failure in bf16 or with LoRA only has another reason."""
    return (one.tuning, one.precision) == (other.tuning, other.precision)


def _package(function: str) -> str:
    """A trainer's package, which all functions of it share; a function of the user's own stands for itself alone."""
    return catalog.package_of(function) if function in catalog.functions() else function


RULE = Rule(
    code="CKPT001",
    name="attribute-contract",
    meaning="The checkpoint function reads an attribute that the callable it is given does not have.",
    explanation="""\
A model does not call torch's `checkpoint` itself. It hands each decoder layer to a *checkpoint function* that the trainer
installed, as some callable plus arguments. Nothing says what kind of callable. The trainer's function reaches into it for
the layer, as in `func.__self__`, which works for a bound method and for nothing else. When the model's side changes its
calling convention, training dies in its first forward pass:

    AttributeError: 'functools.partial' object has no attribute '__self__'
    AttributeError: 'function' object has no attribute '__self__'

It is recognised by what happens, not by the message: the attribute is missing from an object in the make-up of the very
callable that was passed, or the function fails before the layer runs although it works with another calling
convention, while torch's own function trains the same model with the same callable.

DeepSpeed is often blamed. The probes run with DeepSpeed not imported at all show whether it has any part in it.

What helps is a pair of releases that agree, or a checkpoint function that finds the layer in whatever it is given.""",
    links=(
        "https://github.com/hiyouga/LLaMA-Factory/issues/7779",
        "https://github.com/hiyouga/LLaMA-Factory/issues/7699",
        "https://github.com/axolotl-ai-cloud/axolotl/issues/2561",
    ),
    judge=judge,
    implies=("CKPT010",),
)
