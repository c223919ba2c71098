"""The beginning of a training run: many steps of all kinds, each beside the same step without checkpointing.

The usual step shows a function at its first call, on two layers and one batch. Training goes on: weights change, batches
differ, precision is mixed, an evaluation comes in between. Two copies of a model with more layers, one with checkpointing and
one without, take the same steps from the same weights. Where they differ, torch's own functions take that step too: nobody is
blamed for what they get wrong as well.

==============  ==========================================================
``situations``  the steps in their order, and what is particular about each
``conditions``  what a step changes in the model while it is taken
``side``        a model that takes steps, and what is seen of a step
``observing``   a checkpointed step as evidence
``comparing``   what counts as a difference from the plain step
``weights``     weights that move from step to step
``calling``     the function called by itself, on one layer
==============  ==========================================================
"""

from __future__ import annotations

import copy
import functools
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from .. import catalog, functions, gradients, memory, models, preparing, shortages, surroundings, tiny_inputs, watch
from ..layers import layers_of
from ..step import Note
from . import calling, comparing, weights
from .observing import Observer
from .side import Side, Taken
from .situations import Situation, situations

LAYERS = 5
"""Enough to tell a function that skips layers on purpose, such as every second one, from one that goes wrong further down."""

LAYERS_OF_TRAINERS = 3
"""Functions of trainers were measured at many releases: fewer layers and situations show whether this one is the same."""

LARGE = (6, 72)
"""Sequences and tokens of a large batch."""

ROUNDING = 8.0
"""How many times the difference between two orders of the same sums still counts as rounding."""

LEAST = {"fp32": 4e-6, "bf16": 1.5e-2}
"""The least relative difference that does not count as rounding: some of the last digits."""

TORCH = ("torch:non-reentrant", "torch:reentrant")

GREW = 40_000
"""Bytes by which memory must grow in each step to count; half of what one tensor between layers holds in a large batch."""


class Course:
    """All the steps; evidence is filled in as it comes."""

    def __init__(self, spec: dict[str, Any], evidence: dict[str, Any], spy: watch.Spy, note: Note) -> None:
        self.spec, self.evidence, self.spy, self.note = spec, evidence, spy, note

    def run(self) -> None:
        """Build both models, switch checkpointing on in one, and take every step with both."""
        torch.set_num_threads(1)
        surroundings.seed_torch(self.spec["seed"])
        self._enter("build")
        self._build()
        self._enter("plain")
        self.plain.take(Situation(""), [self.batches["usual"]], lambda stage: None)

        self._enter("enable")
        preparation = preparing.Preparation(self.spec, self.evidence)
        preparation.after(self.checkpointed.module)
        with preparation.watching():
            loaded = functions.enable(self.spec["function"], self.checkpointed.module, self.spec["replacement"])
        if loaded and loaded.pop("around", None) is not None:
            self._enter("build")
            raise models.ModelUnavailableError("the function is a context around whole steps")
        if loaded:
            self.evidence["loaded"] = loaded
            self.note({"loaded": loaded})
        self.spy.install(self.checkpointed.module)
        self.steps: list[dict[str, Any]] = []
        self.evidence["steps"] = self.steps
        self._take_steps()
        if self.is_users_own and not any(map(comparing.is_at_fault, self.steps)):
            self._call_it()
        self._enter("")

    def _enter(self, stage: str) -> None:
        self.evidence["during"] = stage
        self.note({"during": stage})

    def _build(self) -> None:
        """Both sides, and the batches."""
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        # A trainer installs its function in its own way only.
        self.is_users_own = self.spec["function"] not in catalog.FUNCTIONS
        self.is_whole = self.is_users_own or self.spec["thorough"]
        layers = LAYERS if self.is_whole else LAYERS_OF_TRAINERS
        auto_classes = self.spec["setup"]["auto_classes"]
        model = models.build(self.spec["model"], self.spec["convention"], "course", layers, auto_classes)
        _without_dropout(model.module)
        model.module.to(self.device)
        self.batches = self._batches()
        self.evidence.update(device=self.device.type, model_class=model.name, family=model.family)
        self.original = model
        self.plain, self.checkpointed = self._side(), self._side()
        self.rounding: dict[str, float] = {}
        self.observer = Observer(self.spec["id"], self.spy, self._enter)

    def _side(self) -> Side:
        module = copy.deepcopy(self.original.module)
        return Side(self.original._replace(module=module, layers=layers_of(module)), self.device)

    def _batches(self) -> dict[str, dict[str, Any]]:
        sequences, tokens = LARGE
        made = {
            "usual": tiny_inputs.padded(),
            "other": _with_a_gap(tiny_inputs.padded()),
            "large": tiny_inputs.padded(sequences, tokens),
            "single": tiny_inputs.padded(1, 24, 0),
        }
        del made["single"]["attention_mask"]
        return {
            name: models.with_settings(self.spec["model"], {key: value.to(self.device) for key, value in batch.items()})
            for name, batch in made.items()
        }

    def _take_steps(self) -> None:
        """Every step, until one goes wrong."""
        self.grown: list[int] = []
        for situation in situations(self.spec["model"] != models.OWN):
            if not (situation.is_for_all or self.is_whole) or (situation.rare and not self.is_users_own):
                continue
            batches = [self.batches[name] for name in situation.batches]
            plain = self._plainly(situation, batches)
            if plain is None:
                continue
            if not self._take_step(situation, batches, plain):
                return
            weights.move(self.plain, self.checkpointed, plain, situation)

    def _plainly(self, situation: Situation, batches: list[dict[str, Any]]) -> Taken | None:
        """The step without checkpointing; nothing where the model itself cannot take it."""
        try:
            return self.plain.take(situation, batches, lambda stage: None)
        except Exception as error:
            if shortages.ran_out(error):
                raise
            return None

    def _take_step(self, situation: Situation, batches: list[dict[str, Any]], plain: Taken) -> bool:
        """The step with checkpointing; whether the next one can tell more."""
        tolerance = self._tolerance(situation)
        step, taken = self.observer.observe(self.checkpointed, situation, batches, plain, tolerance)
        step["when"] = situation.when
        if situation.rare:
            step["rare"] = True
        error = step.get("error")
        if error and error["needs_cuda"]:
            self.steps.clear()
            self._enter("build")
            raise models.ModelUnavailableError("the function needs a GPU, and there is none here")
        if situation.may_raise and error:
            return False
        if comparing.deviates(step):
            step["torch_too"] = [name for name in TORCH if self._deviates_with_torch(name, situation, plain, tolerance)]
        self.steps.append(step)
        self.note({"steps": self.steps})
        if error:
            self.evidence["error"] = error
        if error or step.get("changed") or comparing.is_at_fault(step):
            return False  # once a step is wrong, later ones tell no more
        if situation.batches == ("large",) and taken is not None and memory.in_use() is not None:
            self.grown.append(taken.grew - plain.grew)
            if len(self.grown) == 3 and min(self.grown[1:]) > GREW:  # at first, memory grows for many reasons
                step["grew"] = min(self.grown[1:])
        return True

    def _tolerance(self, situation: Situation) -> float:
        """The largest relative difference that rounding explains: the plain step's own, with its sequences in reverse order."""
        if situation.precision not in self.rounding:
            usual = [self.batches["usual"]]
            turned = [{key: value.flip(0) if torch.is_tensor(value) else value for key, value in usual[0].items()}]
            plainly = Situation("", precision=situation.precision)
            one, other = (self.plain.take(plainly, batch, lambda stage: None) for batch in (usual, turned))
            found = gradients.compare(one.gradients, other.gradients, 0.0)["wrong"]
            noise = max((wrong["difference"] for wrong in found), default=0.0)
            self.rounding[situation.precision] = max(ROUNDING * noise, LEAST[situation.precision])
        return self.rounding[situation.precision]

    def _deviates_with_torch(self, name: str, situation: Situation, plain: Taken, tolerance: float) -> bool:
        """Whether torch's own function does not get this step right either."""
        side = self._side()
        weights.copy(self.plain.module, side.module)
        functions.pass_to(side.module, functools.partial(checkpoint, use_reentrant=name == "torch:reentrant"))
        batches = [self.batches[one] for one in situation.batches]
        return comparing.deviates(self.observer.observe(side, situation, batches, plain, tolerance)[0])

    def _call_it(self) -> None:
        """Call the function by itself, with the arguments of a call that the model makes."""
        self.checkpointed.module.zero_grad(set_to_none=True)
        loss = self.checkpointed.module(**tiny_inputs.fresh(self.batches["usual"])).loss
        if self.spy.call is None:
            return
        call, self.spy.call = self.spy.call, None
        del loss
        for step in calling.steps(self.checkpointed, call, self.spec["id"], self.rounding["fp32"]):
            self.steps.append(step)


def _without_dropout(module: torch.nn.Module) -> None:
    """Switch dropout off: each side would rightly drop something else. Dropout is a variant of the usual step."""
    for one in module.modules():
        if isinstance(one, torch.nn.modules.dropout._DropoutNd):
            one.p = 0.0


def _with_a_gap(batch: dict[str, Any]) -> dict[str, Any]:
    """A batch with another mask, and one that matters: no token attends to some in the middle."""
    batch["attention_mask"][0, 4:9] = 0
    batch["labels"][0, 4:9] = -100
    return batch
