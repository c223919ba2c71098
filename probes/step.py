"""One probe: a plain training step, then the same one with checkpointing, and all that was seen."""

from __future__ import annotations

import inspect
import time
import warnings
from typing import Any, Callable

import torch

from . import catalog, engines, failures, functions, isolate, loading, models, places, stack, stand_in, tuning, watch

WRONG = 1e-4
"""Largest difference of a gradient, relative to its largest absolute value, that counts as equal in fp32.

Recomputation runs the same operations on the same values; what differs in practice is the order of a reduction.
"""

WRONG_IN_SHORT = 2e-2
"""The same in bf16 and fp16, of which a few bits are lost in every sum."""

CLEAR = 1e-3
"""Least norm of the difference between two sets of gradients at which the loss can tell them apart in fp32."""

STEP = 1e-2
"""How far parameters are moved for that, along a direction of norm one."""

Note = Callable[[dict[str, Any]], None]
"""Takes a part of the evidence as it comes."""


def run(spec: dict[str, Any], note: Note = lambda part: None) -> dict[str, Any]:
    """Run one probe and return its evidence; see ``Spec`` and ``Evidence`` on the doctor's side for the fields.

    Whatever the target's packages raise becomes part of the evidence.

    Args:
        spec: What to run.
        note: Told the most telling parts as they come, for a probe that does not live to tell.
    """
    started = time.perf_counter()
    evidence: dict[str, Any] = {"id": spec["id"], "ended": "returned", "during": "load"}
    spy = watch.Spy()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _kind(spec)(spec, evidence, spy, note).run()
    except (models.ModelUnavailableError, functions.FunctionUnavailableError) as error:
        evidence.update(ended="skipped", why=str(error))
    except (Exception, SystemExit) as error:
        if out := isolate.ran_out(error):
            evidence.update(ended="skipped", why=out, unfit=True)
        else:
            evidence.update(ended="raised", error=failures.evidence(error, spy.last))
        if evidence["during"] == "backward" and evidence.get("error", {}).get("needs_cuda"):
            # A backward pass that failed only for want of CUDA was not run; what the CPU can tell of it is told apart.
            evidence.update(ended="returned", forward_only=True, stand_in=_with_stand_in(spec))
    evidence.update(handovers=spy.seen, function_called=spy.calls, modules=stack.versions_loaded())
    evidence["missing"] = sorted(loading.ASKED)
    evidence["seconds"] = round(time.perf_counter() - started, 4)
    return evidence


def _kind(spec: dict[str, Any]) -> Any:
    if spec["variant"] != "course":
        return Step
    from .course import Course

    return Course


def _with_stand_in(spec: dict[str, Any]) -> dict[str, Any]:
    """The evidence of the same step with the CPU in the place of the GPU.

    What such functions do about autocast is bound to the device. Where a step in another precision goes wrong, it is taken
    in fp32: what goes wrong there too has another reason.
    """
    evidence = _simulated(spec)
    if spec["setup"]["precision"] == "fp32" or not _fell_short(evidence):
        return evidence
    return _simulated({**spec, "setup": {**spec["setup"], "precision": "fp32"}})


def _fell_short(evidence: dict[str, Any]) -> bool:
    compared = [evidence.get("gradients"), evidence.get("accumulated")]
    return evidence["ended"] != "returned" or any(one and (one["missing"] or one["wrong"]) for one in compared)


def _simulated(spec: dict[str, Any]) -> dict[str, Any]:
    evidence: dict[str, Any] = {"id": spec["id"], "ended": "returned"}
    spy = watch.Spy()
    try:
        with stand_in.cpu_for_cuda():
            Step({**spec, "engine": "none", "ranks": 1}, evidence, spy, lambda part: None).run()
    except (Exception, SystemExit) as error:
        if isolate.ran_out(error):
            raise
        evidence.update(ended="raised", error=failures.evidence(error, spy.last))
    return evidence


class Step:
    """The plain step, the checkpointed one, and a second one on top of it; evidence is filled in as it comes."""

    def __init__(self, spec: dict[str, Any], evidence: dict[str, Any], spy: watch.Spy, note: Note) -> None:
        self.spec, self.evidence, self.spy, self.note = spec, evidence, spy, note

    def run(self) -> None:
        """All of it, stage by stage."""
        torch.set_num_threads(1)
        torch.manual_seed(self.spec["seed"])

        self._enter("build")
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = models.build(self.spec["model"], self.spec["convention"], self.spec["variant"])
        self.precision = tuning.precision_of(self.spec["setup"], device.type)
        self.evidence["targets_missing"] = tuning.targets_missing(self.model, self.spec["setup"])
        self.model = tuning.apply(self.model, self.spec["setup"])
        # An engine may cast the weights; the plain step must be taken with the same ones.
        self.is_in_weights = catalog.ENGINES[self.spec["engine"]]["casts_weights"] and self.precision != "fp32"
        if self.is_in_weights:
            self.model.module.to(tuning.PRECISIONS[self.precision])
        self.model.module.to(device)
        self.device = device.type
        inputs = self.model.inputs.items()
        self.inputs = {name: value.to(device) if torch.is_tensor(value) else value for name, value in inputs}
        forward = inspect.unwrap(type(tuning.base_of(self.model.module)).forward)
        self.evidence.update(
            device=device.type,
            precision=self.precision,
            model_class=self.model.name,
            family=self.model.family,
            model_place=places.of_code(forward.__code__),
        )
        self.insides = watch.Insides(self.model.layers)

        self._enter("plain")
        self.engine = engines.Engine(self.model.module)
        loss, plain_bytes = self._forward()
        self.engine.backward(loss)
        self.evidence["plain_loss"] = float(loss.detach())
        plain, seen_plain = (
            engines.averaged(self._gradients(), self.model.module, self.spec["ranks"]),
            self.insides.take(),
        )
        self.model.module.zero_grad(set_to_none=True)

        self._enter("enable")
        if self.spec["function"] != "none":
            self._enable()

        self._enter("engine")
        self.engine = engines.wrap(
            self.spec["engine"],
            self.model.module,
            self.model.layers,
            engines.Settings(
                len(self.inputs["input_ids"]), self.precision, self.spec["setup"]["deepspeed"], self.spec["ranks"]
            ),
        )

        try:
            saved = self._checkpointed()
        finally:
            self.evidence.update(self._insides(seen_plain))
        once = self._gradients()
        gradients = self._compare(plain, once)
        if gradients["wrong"] and self._can_tell():
            gradients["confirmed"] = _which_is_right(self.model.module, self.inputs, plain, once)
        self.evidence.update(gradients=gradients, saved_bytes={"plain": plain_bytes, "checkpointed": saved})

        if self._is_of_interest() and self.spec["engine"] == "none":
            self._checkpointed()
            doubled = {name: _twice(one) for name, one in plain.items()}
            self.evidence["accumulated"] = self._compare(doubled, self._gradients())
        self._enter("")

    def _enter(self, stage: str) -> None:
        self.evidence["during"] = stage
        self.note({"during": stage})

    def _enable(self) -> None:
        base = tuning.base_of(self.model.module)
        loaded = functions.enable(
            self.spec["function"], base, self.spec["replacement"], self.spec["setup"]["reentrant"]
        )
        tuning.after_enabling(self.model.module)
        if loaded:
            self.evidence["loaded"] = loaded
            self.note({"loaded": loaded})
        self.spy.install(base)

    def _is_of_interest(self) -> bool:
        """Whether the function is someone's own; torch's are known to cope with a second step and to reach into nothing."""
        function = str(self.spec["function"])
        return function != "none" and not function.startswith("torch:")

    def _can_tell(self) -> bool:
        """Whether the loss can be taken again: not sharded, and without chance in it."""
        exact = self.precision == "fp32" and self.spec["variant"] != "dropout"
        return bool(self.spec["engine"] == "none" and exact)

    def _compare(self, plain: dict[str, Any], checkpointed: dict[str, Any]) -> dict[str, Any]:
        return compare(plain, checkpointed, WRONG if self.precision == "fp32" else WRONG_IN_SHORT)

    def _forward(self) -> tuple[torch.Tensor, int]:
        """The loss of a forward pass, and the bytes saved for backward."""
        torch.manual_seed(self.spec["seed"])  # dropout draws the same in every pass that is compared
        saved = watch.SavedBytes(self.model.module)
        with saved.hooks(), tuning.arithmetic(self.precision, self.device, self.is_in_weights):
            loss = self.engine.forward(models.fresh(self.inputs)).loss
        self.insides.forward_is_over()
        return loss, saved.total

    def _checkpointed(self) -> int:
        """A forward and backward pass, gradients added to those that are there; the bytes that were saved."""
        self._enter("forward")
        loss, saved = self._forward()
        self.evidence["loss"] = float(loss.detach())
        self._enter("backward")
        self.engine.backward(loss)
        return saved

    def _gradients(self) -> dict[str, Any]:
        """The gradients as they are now, by parameter name, gathered and copied."""
        return {
            name: gradient.detach().float().clone()
            if (gradient := self.engine.gradient(parameter)) is not None
            else None
            for name, parameter in self.model.module.named_parameters()
            if parameter.requires_grad
        }

    def _insides(self, plain: watch.Seen) -> dict[str, Any]:
        """How often each layer ran, and the keyword arguments that did not reach it."""
        seen = self.insides.take()
        layers = [
            {"name": name, "type": type(layer).__name__, **counted}
            for name, layer in self.model.layers.items()
            if (counted := watch.forwards(name, plain, seen))
        ]
        return {"layers": layers, "keywords_lost": watch.lost_keywords(plain, seen)}


def _twice(gradient: Any) -> Any:
    return None if gradient is None else 2 * gradient


def compare(plain: dict[str, Any], checkpointed: dict[str, Any], tolerance: float) -> dict[str, Any]:
    """Gradients of the checkpointed step against the plain one's.

    ZeRO keeps zeros for a parameter that got no gradient, so all zeros where the plain gradient is not counts as missing.
    """
    missing, wrong, compared = [], [], 0
    for name, expected in plain.items():
        if expected is None or not bool(expected.any()):
            continue
        compared += 1
        gradient = checkpointed.get(name)
        if gradient is None or (not bool(gradient.any()) and bool(gradient.isfinite().all())):
            missing.append(name)
            continue
        difference = float((gradient.to(expected.device) - expected).abs().max() / expected.abs().max())
        if not difference <= tolerance:  # also true for NaN
            wrong.append({"parameter": name, "difference": difference if difference == difference else 1e308})
    return {"compared": compared, "missing": missing, "wrong": wrong}


def _which_is_right(
    module: torch.nn.Module, inputs: dict[str, Any], plain: dict[str, Any], checkpointed: dict[str, Any]
) -> str:
    """Which of two sets of gradients the loss itself bears out: ``plain``, ``checkpointed``, or nothing when unclear.

    A kernel may be wrong in the plain step, and a checkpoint function be blamed for being right. So the loss is taken a
    little to either side, along the direction in which the two sets differ most: its slope there is what a gradient claims.
    """
    both = {name: (plain[name], checkpointed[name]) for name in plain if plain[name] is not None}
    apart = {name: one - other for name, (one, other) in both.items() if other is not None}
    norm = torch.sqrt(sum((difference.double().pow(2).sum() for difference in apart.values()), torch.zeros(())))
    if not bool(norm.isfinite()) or float(norm) < CLEAR:
        return ""
    direction = {name: difference / norm for name, difference in apart.items()}
    claims = [sum(float((both[name][which] * direction[name]).sum()) for name in direction) for which in (0, 1)]
    slope = (_loss_along(module, inputs, direction, STEP) - _loss_along(module, inputs, direction, -STEP)) / (2 * STEP)
    off = [abs(slope - claim) for claim in claims]
    if min(off) > max(off) / 3:
        return ""
    return "plain" if off[0] < off[1] else "checkpointed"


def _loss_along(module: torch.nn.Module, inputs: dict[str, Any], direction: dict[str, Any], step: float) -> float:
    """The loss with the parameters moved along a direction, without checkpointing; they are moved back."""
    parameters = dict(module.named_parameters())
    kept = {name: parameters[name].detach().clone() for name in direction}
    module.eval()  # models checkpoint in training only
    with torch.no_grad():
        for name, along in direction.items():
            parameters[name].add_(along.to(parameters[name].device), alpha=step)
        loss = float(module(**models.fresh(inputs)).loss)
        for name, value in kept.items():
            parameters[name].copy_(value)
    module.train()
    return loss
