"""A plain training step, then the same one with checkpointing, and all that was seen."""

from __future__ import annotations

import contextlib
import inspect
import os
from typing import Any, Callable

import torch

from . import (
    catalog,
    contract,
    engines,
    functions,
    gradients,
    models,
    places,
    preparing,
    surroundings,
    switching_on,
    tiny_inputs,
    tuning,
    watch,
    wrapper,
)

WRONG = 1e-4
"""Largest difference of a gradient, relative to its largest absolute value, that counts as equal in fp32.

Recomputation runs the same operations on the same values; what differs in practice is the order of a reduction.
"""

WRONG_IN_SHORT = 2e-2
"""The same in bf16 and fp16, of which a few bits are lost in every sum."""

NOISE = 1e-6
"""Difference of a gradient, relative to the largest of all, that sums in another order explain in fp32."""

ZERO = 1e-8
"""The same where steps run the same operations: below it, a gradient is zero but for rounding, as that of a bias of keys is."""

ZERO_IN_SHORT = 1e-6
"""The same in bf16 and fp16."""

Note = Callable[[dict[str, Any]], None]
"""Takes a part of the evidence as it comes."""


class Step:
    """The plain step, the checkpointed one, and a second one on top of it; evidence is filled in as it comes."""

    micro_batches = 1

    def __init__(self, spec: dict[str, Any], evidence: dict[str, Any], spy: watch.Spy, note: Note) -> None:
        self.spec, self.evidence, self.spy, self.note = spec, evidence, spy, note
        self.around: Any = None
        """A context in which checkpointed steps are taken."""
        self.engine_record = catalog.ENGINES[spec["engine"]]

    def run(self) -> None:
        """All of it, stage by stage."""
        torch.set_num_threads(1)
        surroundings.seed_torch(self.spec["seed"])
        self._enter("build")
        self._build()
        self._enter("plain")
        plain, plain_bytes, seen_plain = self._plain()
        self._enter("enable")
        if self.spec["function"] != "none":
            self._enable()
        self._enter("engine")
        self._wrap()
        try:
            saved = self._checkpointed()
        finally:
            if not self.engine_record["hides_layers"]:
                self.evidence.update(self._insides(seen_plain))
        once = self._gradients()
        compared = self._compare(plain, once)
        if compared["wrong"] and self._can_tell():
            compared["confirmed"] = gradients.which_is_right(self.model.module, self.inputs, plain, once)
        self.evidence["gradients"] = compared
        if self.around is None:
            self.evidence["saved_bytes"] = {"plain": plain_bytes, "checkpointed": saved}
        if self._is_of_interest() and self.spec["engine"] == "none":
            self._checkpointed()
            doubled = {name: _twice(one) for name, one in plain.items()}
            self.evidence["accumulated"] = self._compare(doubled, self._gradients())
        self._enter("")
        if self._shows_contract():
            self.spy.is_over = True
            with contextlib.suppress(Exception):  # the step itself went well
                self.evidence["contract"] = contract.of(self.model.module, self.model.layers, self._once_more)

    def _build(self) -> None:
        """The model as the job tunes it, and its inputs."""
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.preparation = preparing.Preparation(self.spec, self.evidence)
        self.preparation.before()
        auto_classes = self.spec["setup"]["auto_classes"]
        self.model = models.build(
            self.spec["model"], self.spec["convention"], self.spec["variant"], auto_classes=auto_classes
        )
        self.preparation.after(self.model.module)
        self.precision = tuning.precision_of(self.spec["setup"], device.type)
        self.rounded_to = self.engine_record["precision"]
        self.evidence["targets_missing"] = tuning.targets_missing(self.model, self.spec["setup"])
        self.model = tuning.apply(self.model, self.spec["setup"])
        # An engine may cast the weights; the plain step must be taken with the same ones.
        self.is_in_weights = self.engine_record["casts_weights"] and self.precision != "fp32"
        if self.is_in_weights:
            self.model.module.to(tuning.PRECISIONS[self.precision])
        self.model.module.to(device)
        self.device = device.type
        inputs = self.model.inputs.items()
        self.inputs = {name: value.to(device) if torch.is_tensor(value) else value for name, value in inputs}
        forward = inspect.unwrap(type(tuning.base_of(self.model.module)).forward)
        self.evidence.update(
            device=device.type,
            precision=self.rounded_to or self.precision,
            model_class=self.model.name,
            family=self.model.family,
            media=self.model.media,
            media_untried=self.model.media_untried,
            model_place=places.of_code(forward.__code__),
        )
        is_family = self.spec["model"] != models.OWN and not os.path.isabs(self.spec["model"])
        if self.spec["engine"] == "none" and is_family:  # a folder's configuration is the user's
            self.evidence["config"] = models.written(tuning.base_of(self.model.module))
        self.insides = watch.Insides(self.model.layers)
        self.types = {name: type(layer).__name__ for name, layer in self.model.layers.items()}  # FSDP2 renames classes

    def _plain(self) -> tuple[dict[str, Any], int, watch.Seen]:
        """The step without checkpointing: its gradients, the bytes saved for backward, and what the layers did."""
        self.engine = engines.Engine(self.model.module)
        with tuning.rounded(self.model.module, self.rounded_to):
            loss, plain_bytes = self._forward()
            self.engine.backward(loss)
            self.insides.backward_is_over()
            self.evidence["plain_loss"] = float(loss.detach())
            plain = engines.averaged(self._gradients(), self.model.module, self.spec["ranks"])
            self.model.module.zero_grad(set_to_none=True)
        return plain, plain_bytes, self.insides.take()

    def _enter(self, stage: str) -> None:
        self.evidence["during"] = stage
        self.note({"during": stage})

    def _enable(self) -> None:
        base, setup, function = tuning.base_of(self.model.module), self.spec["setup"], self.spec["function"]
        with self.preparation.watching():
            loaded = functions.enable(function, base, self.spec["replacement"], setup["reentrant"])
            if loaded:
                self.around = loaded.pop("around", None)
                self.evidence["loaded"] = loaded
                self.note({"loaded": loaded})
            if setup["trainer_switches_on"] and function in catalog.FUNCTIONS and functions.has_switch(base):
                self._as_trainer(base)
        if self._is_prepared(base is not self.model.module):
            tuning.inputs_require_grad(base)
        if not self.engine_record["hides_layers"]:  # what cannot be seen cannot be compiled either
            self.spy.install(base)

    def _is_prepared(self, is_adapted: bool) -> bool:
        """Whether the job makes the output of frozen embeddings require a gradient; trainers add the adapter afterwards."""
        if not is_adapted:
            return bool(self.spec["variant"] and self.spec["setup"]["inputs_require_grad"])
        return bool(self.spec["setup"]["inputs_require_grad"] or self.spec["function"] in catalog.FUNCTIONS)

    def _as_trainer(self, model: torch.nn.Module) -> None:
        """Transformers' Trainer switches checkpointing on too, once a trainer has prepared the model."""
        reentrant = self.spec["setup"]["trainers_reentrant"]
        keywords = None if reentrant is None else {"use_reentrant": reentrant}
        self.evidence["trainers_call"] = switching_on.trainers_arguments(model, keywords)
        with switching_on.refusals(model):
            switching_on.switch_on(model, keywords)

    def _wrap(self) -> None:
        """Put the engine around the model."""
        if self.engine_record["hides_layers"]:
            self.insides.close()
        setup, function = self.spec["setup"], self.spec["function"]
        settings = engines.Settings(
            batch=len(self.inputs["input_ids"]),
            precision=self.precision,
            deepspeed=setup["deepspeed"],
            ranks=self.spec["ranks"],
            micro_batches=self.micro_batches,
            wraps_layers=function == functions.WRAPPER or (setup["fsdp_checkpointing"] and function != "none"),
        )
        self.engine = engines.wrap(self.spec["engine"], self.model.module, self.model.layers, settings)
        if settings.wraps_layers:
            self.evidence["wrapper"] = self.spy.watch_wrappers(self.model.module)

    def _is_of_interest(self) -> bool:
        """Whether the function is someone's own; torch's are known to cope with a second step and to reach into nothing."""
        function = str(self.spec["function"])
        return function != "none" and not function.startswith("torch:")

    def _shows_contract(self) -> bool:
        """Whether this is the usual step of a model of transformers with torch's own function: one for each model."""
        spec, setup = self.spec, self.spec["setup"]
        is_alone = spec["engine"] == "none" and not spec["variant"] and not spec["as_installed"]
        is_usual = is_alone and setup["tuning"] == "full" and setup["precision"] == "fp32"
        return bool(is_usual and spec["function"] == contract.SHOWN_BY and functions.has_switch(self.model.module))

    def _once_more(self, forward_is_over: Callable[[], None]) -> None:
        """A checkpointed step, of which nothing is kept."""
        loss, _ = self._forward()
        forward_is_over()
        self.engine.backward(loss)

    def _can_tell(self) -> bool:
        """Whether the loss can be taken again: not sharded, and without chance in it."""
        exact = self.precision == "fp32" and self.spec["variant"] != "dropout"
        return bool(self.spec["engine"] == "none" and exact)

    def _compare(self, plain: dict[str, Any], checkpointed: dict[str, Any]) -> dict[str, Any]:
        tolerance = WRONG if self.evidence["precision"] == "fp32" else WRONG_IN_SHORT
        zero = ZERO if self.evidence["precision"] == "fp32" else ZERO_IN_SHORT
        # With the cache on, attention may run another kernel in the plain step.
        return gradients.compare(plain, checkpointed, tolerance, NOISE if self.spec["variant"] == "cache" else zero)

    def _forward(self) -> tuple[torch.Tensor, int]:
        """The loss of a forward pass, and the bytes saved for backward."""
        surroundings.seed_torch(self.spec["seed"])  # dropout draws the same in every pass that is compared
        saved = watch.SavedBytes(self.model.module)
        # Of hooks for what is saved, only the innermost run: those of the function's own context.
        hooks = saved.hooks() if self.around is None else contextlib.nullcontext()
        with hooks, tuning.arithmetic(self.precision, self.device, self.is_in_weights):
            loss = self.engine.forward(tiny_inputs.fresh(self.inputs)).loss
        self.insides.forward_is_over()
        return loss, saved.total

    def _checkpointed(self) -> int:
        """A forward and backward pass, gradients added to those that are there; the bytes that were saved."""
        with self.around or contextlib.nullcontext():
            self._enter("forward")
            loss, saved = self._forward()
            self.evidence["loss"] = float(loss.detach())
            self._enter("backward")
            self.engine.backward(loss)
        return saved

    def _gradients(self) -> dict[str, Any]:
        """The gradients as they are now, by parameter name, gathered and copied."""
        with self.engine.gathered():
            return {
                wrapper.plain_name(name): gradient.detach().float().clone()
                if (gradient := self.engine.gradient(parameter)) is not None
                else None
                for name, parameter in self.model.module.named_parameters()
                if parameter.requires_grad
            }

    def _insides(self, plain: watch.Seen) -> dict[str, Any]:
        """How often each layer ran, and the keyword arguments that did not reach it."""
        seen = self.insides.take()
        layers = [
            {"name": name, "type": self.types[name], **counted}
            for name in self.model.layers
            if (counted := watch.forwards(name, plain, seen))
        ]
        return {"layers": layers, "keywords_lost": watch.lost_keywords(plain, seen)}


def _twice(gradient: Any) -> Any:
    return None if gradient is None else 2 * gradient
