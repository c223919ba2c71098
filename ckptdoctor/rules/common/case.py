"""A probe as a rule sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from msgspec import structs

from ckptdoctor import catalog
from ckptdoctor.model.evidence import Evidence, Handover, Place, Setup, Spec
from ckptdoctor.planning.options import COURSE, NO_FUNCTION, OWN_MODEL, TORCH
from ckptdoctor.planning.plan import Planned
from ckptdoctor.rules.common.soundness import involves_cuda, is_sound, works, wrong_gradients
from ckptdoctor.words.wording import error_line, relative

IN_WORDS = {
    "": "",
    "packed": " with packed sequences",
    "dropout": " with dropout",
    "frozen": " with frozen embeddings",
    "prefix": " when the first layers are frozen",
    "cache": " with the key-value cache on",
    "shared-kv": " where layers share keys and values",
    "accumulated": " with gradient accumulation",
    "second": " in the step after an optimizer step",
    "perturbed": " when a layer gets other values in recomputation",
    "course": "",
}
"""Variants of the step, as the end of a clause."""


OF_THE_WHOLE = ("handovers", "loaded", "replaced", "missing", "modules", "model_class", "family", "model_place")
"""Evidence that is recorded once for a course and holds for each of its steps."""

BEFORE = ("load", "build", "plain")
"""Stages before checkpointing is switched on."""


@dataclass(frozen=True)
class Case:
    """One probe with its evidence, and all other probes."""

    planned: Planned
    evidence: Evidence
    others: Mapping[str, tuple[Planned, Evidence]]
    """All probes by id, this one too."""

    @property
    def spec(self) -> Spec:
        """What was run."""
        return self.planned.spec

    @property
    def is_checkpointed(self) -> bool:
        """Whether the probe used a checkpoint function at all."""
        return self.spec.function != NO_FUNCTION

    @property
    def handover(self) -> Handover | None:
        """The last way in which the layer was passed; a probe that raised an error stopped there."""
        return self.evidence.handovers[-1] if self.evidence.handovers else None

    @property
    def passed_by(self) -> Place | None:
        """The line that passed the layer."""
        return self.handover.by if self.handover else None

    @property
    def raised_at(self) -> Place | None:
        """The innermost frame of the error that ended the probe."""
        return self.evidence.error.frames[-1] if self.evidence.error and self.evidence.error.frames else None

    @property
    def happened(self) -> str:
        """Why a probe did not return, in one line."""
        return error_line(self.evidence.error) if self.evidence.error else self.evidence.why

    @property
    def ended_before_checkpointing(self) -> bool:
        """Whether the probe ended before checkpointing was switched on."""
        return self.evidence.during in BEFORE

    @property
    def is_impossible_variant(self) -> bool:
        """Whether this stack cannot run the variant at all: the variant fails before checkpointing is switched on."""
        gave_up = self.evidence.ended in ("raised", "skipped") and not self.evidence.unfit
        return self.is_variant and gave_up and self.ended_before_checkpointing

    @property
    def function(self) -> Place | None:
        """Where the checkpoint function is defined, if it was loaded."""
        return self.evidence.loaded.place if self.evidence.loaded else None

    @property
    def is_variant(self) -> bool:
        """Whether only some jobs have what the probe tries."""
        return bool(self.spec.variant or self.planned.usual)

    @property
    def usual(self) -> Case | None:
        """The same probe without the variant; for a course, the usual step of the job."""
        if not self.is_variant:
            return None
        found = self.others.get((self.planned.usual or structs.replace(self.spec, variant="")).id)
        if found is None and self.spec.variant == COURSE:
            found = next((one for one in self.others.values() if self._is_usual(one[0].spec)), None)
        return Case(*found, self.others) if found else None

    def _is_usual(self, other: Spec) -> bool:
        ours = (self.spec.model, self.spec.function, "none", "", self.spec.convention)
        return (other.model, other.function, other.engine, other.variant, other.convention) == ours

    @property
    def usual_is_lost(self) -> bool:
        """Whether the probe without the variant did not finish, so that it says nothing about this one."""
        return self.usual is not None and self.usual.evidence.is_lost

    @property
    def needs_its_engine(self) -> bool:
        """Whether this is the course of a function that only works with an engine: a course runs without one."""
        usual = self.usual if self.spec.variant == COURSE else None
        if usual is None or usual.planned.role != "control" or works(usual.evidence):
            return False
        # A step that did not finish counts only if the course ends in the same way.
        ends_alike = self.evidence.ended == usual.evidence.ended and not usual.evidence.unfit
        return ends_alike or not usual.evidence.is_lost

    @property
    def variant_text(self) -> str:
        """The variant, or the step of a course, as the end of a clause."""
        return f" {self.evidence.when}" if self.evidence.when else variant_in_words(self.spec, self.planned.usual)

    @property
    def step_text(self) -> str:
        """The step of a course, as the end of a clause."""
        return f" {self.evidence.when}" if self.evidence.when else ""

    def steps(self) -> list[Case]:
        """The steps of a course, each as a probe of its own."""
        whole = self.evidence
        return [
            replace(self, evidence=structs.replace(one, **{name: getattr(whole, name) for name in OF_THE_WHOLE}))
            for one in whole.steps
        ]

    def course(self) -> Case | None:
        """The course of the same function on the same model, if at least its first step was run."""
        alone = {"engine": "none", "ranks": 1, "as_installed": False, "setup": Setup()}
        found = self.others.get(Spec(**{**self._fields(), **alone, "variant": COURSE}).id)
        return Case(*found, self.others) if found and found[1].steps else None

    def sibling(self, **changes: object) -> Evidence | None:
        """The evidence of the probe that differs only in ``changes``, if it was run.

        Without an engine there are no ranks.
        """
        alone = {"ranks": 1} if changes.get("engine") == "none" else {}
        found = self.others.get(Spec(**{**self._fields(), **changes, **alone}).id)
        return found[1] if found else None

    def _fields(self) -> dict[str, Any]:
        return {name: getattr(self.spec, name) for name in Spec.__struct_fields__}

    def without_deepspeed(self) -> Evidence | None:
        """The same step without an engine and with DeepSpeed hidden; nothing if this probe is that step."""
        is_it = self.spec.engine == "none" and not self.spec.as_installed
        return None if is_it else self.sibling(engine="none", as_installed=False)

    def without_patches(self) -> Evidence | None:
        """The same step without an engine and without the trainer's own preparation of the model."""
        setup = structs.replace(self.spec.setup, without_patches=True)
        return self.sibling(setup=setup, engine="none", as_installed=False, variant="")

    def control(self) -> Evidence | None:
        """The same step without checkpointing; whether embeddings' outputs require a gradient does not matter to it."""
        setup = self.spec.setup
        setups = (setup, structs.replace(setup, inputs_require_grad=not setup.inputs_require_grad))
        ways = [(variant, one) for variant in dict.fromkeys((self.spec.variant, "")) for one in setups]
        found = (self.sibling(function=NO_FUNCTION, variant=variant, setup=one) for variant, one in ways)
        return next((one for one in found if one is not None), None)

    def with_prepared_inputs(self) -> Evidence | None:
        """The same step in a script that calls ``enable_input_require_grads()``; nothing if this probe is that step."""
        setup = structs.replace(self.spec.setup, inputs_require_grad=True)
        return self.sibling(setup=setup) if setup != self.spec.setup else None

    def lost_control(self) -> Evidence | None:
        """The same step without checkpointing, if it ended for a reason that says nothing about the step."""
        control = self.control() if self.is_checkpointed else None
        return control if control is not None and control.is_lost else None

    def is_sound_without_checkpointing(self) -> bool:
        """Whether the model trains under this engine without checkpointing."""
        control = self.control()
        return control is None or control.ended == "returned"

    def passes_with_torch(self) -> list[str]:
        """Ids of the probes in which torch's own function trained the same model under the same engine."""
        return [evidence.id for evidence in self.with_torch() if is_sound(evidence)]

    def with_torch(self) -> list[Evidence]:
        """The evidence of torch's own functions on the same model under the same engine, if they were run.

        If a job sets ``use_reentrant``, only torch's function with the same setting is compared.
        """
        reentrant = self.spec.setup.effective_reentrant
        names = TORCH if reentrant is None else ("torch:reentrant" if reentrant else "torch:non-reentrant",)
        return [found for name in names if (found := self.sibling(function=name)) is not None]

    def shows_in_the_usual_step(self) -> bool:
        """Whether the same happens without an engine and without a variant."""
        if self.spec.engine == "none" and not self.spec.variant:
            return True
        usual = self.sibling(engine="none", variant="")
        return usual is not None and self.stops_like(usual)

    def stops_like(self, other: Evidence) -> bool:
        """Whether both probes stopped in an exception raised at the same line."""
        ends = [one.error.frames[-1] for one in (self.evidence, other) if one.error and one.error.frames]
        return len(ends) == 2 and ends[0].is_at(ends[1])

    def fails_alike_with_torch(self) -> bool:
        """Whether torch's own non-reentrant function fails with the same type of error: then no other is to blame."""
        if self.spec.function in TORCH:
            return False
        alike = self.sibling(function="torch:non-reentrant")
        errors = [one.error for one in (self.evidence, alike) if one is not None]
        return len(errors) == 2 and all(errors) and len({error.type for error in errors if error}) == 1

    def wrong_as_torchs_reentrant(self) -> Evidence | None:
        """The step of torch's own reentrant function, if it gets the same gradients wrong, or is itself this case.

        Torch's non-reentrant function gets them right: then the model and reentrant checkpointing do not go together, and
        nobody's function is to blame.
        """
        reentrant, other = (self.sibling(function=name) for name in ("torch:reentrant", "torch:non-reentrant"))
        if reentrant is None or other is None or not works(other):
            return None
        wrong = wrong_gradients(reentrant)
        return reentrant if wrong and wrong == wrong_gradients(self.evidence) else None

    def clashes_with_engine(self) -> str:
        """The one of torch's own functions that fails with the same error under this engine, or is itself this case.

        The same step trains without an engine: then it is the engine and this way of checkpointing that do not go together,
        and nobody's function is to blame. Empty if that is not so.
        """
        alone = self.sibling(engine="none") if catalog.engines()[self.spec.engine].owner else None
        if self.evidence.error is None or alone is None or not works(alone):
            return ""
        return next((name for name in TORCH if self._ends_like(self.sibling(function=name))), "")

    def _ends_like(self, other: Evidence | None) -> bool:
        """Whether both probes were ended by the same error; sizes and names below its first line may differ."""
        errors = [one.error for one in (self.evidence, other) if one is not None and one.error is not None]
        return len(errors) == 2 and len({error_line(error) for error in errors}) == 1

    def line_of_engine(self) -> Place | None:
        """The innermost line of the engine, or of the checkpoint function beside it, at which the error was raised."""
        owner = catalog.engines()[self.spec.engine].owner
        frames = [one for one in (self.evidence.error.frames if self.evidence.error else ()) if one.package == owner]
        own = [one for one in frames if owner != "torch" or relative(one.file).startswith(_ENGINES_OF_TORCH)]
        return next(reversed(own or frames), None)

    @property
    def is_undecided(self) -> bool:
        """Whether only a GPU can show how backward behaves: the simulation on the CPU does not show it."""
        evidence = self.evidence
        if not evidence.forward_only or works(evidence):
            return False
        tried = evidence.stand_in
        if tried is None or (tried.error is not None and involves_cuda(tried.error)):
            return True
        return tried.precision != evidence.precision and is_sound(tried)

    @property
    def fails_to_import(self) -> bool:
        """Whether the checkpoint function's module, or a module that it needs, cannot be imported."""
        error = self.evidence.error
        if error is None or self.evidence.during != "enable":
            return False
        is_import_error = error.type.rpartition(".")[2] in ("ImportError", "ModuleNotFoundError")
        return is_import_error or any(frame.function == "<module>" for frame in error.frames)

    @property
    def model_text(self) -> str:
        """The model, in words."""
        return "our own GLM-4" if self.spec.model == OWN_MODEL else self.evidence.model_class or self.spec.model


def variant_in_words(spec: Spec, usual: Spec | None) -> str:
    """What a probe has that the usual step lacks, as the end of a clause."""
    words = IN_WORDS[spec.variant]
    if usual is None:
        return words
    if spec.setup.tuning == "lora":
        is_plain = spec.function in TORCH and not spec.setup.inputs_require_grad
        words += " with LoRA" + (" in a script that does not call `enable_input_require_grads()`" if is_plain else "")
    return words + (f" in {spec.setup.precision}" if spec.setup.precision != "fp32" else "")


_ENGINES_OF_TORCH = ("torch/distributed/", "torch/nn/parallel/", "torch/utils/checkpoint.py")
"""Files of torch in which its engines, and its checkpoint function, are; other files of torch's raise on their behalf."""
