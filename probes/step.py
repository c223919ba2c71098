"""One probe: a plain training step, then the same one with checkpointing, and all that was seen."""

from __future__ import annotations

import contextlib
import inspect
import time
import warnings
from typing import Any

import torch

from . import engines, failures, functions, models, places, stack, watch

WRONG = 1e-4
"""Largest difference of a gradient, relative to its largest absolute value, that counts as equal in fp32.

Recomputation runs the same operations on the same values; what differs in practice is the order of a reduction.
"""

CLEAR = 1e-3
"""Least norm of the difference between two sets of gradients at which the loss can tell them apart in fp32."""

STEP = 1e-2
"""How far parameters are moved for that, along a direction of norm one."""

LISTED = 12
"""Parameters that are named; a model has hundreds."""


def run(spec: dict[str, Any]) -> dict[str, Any]:
    """Run one probe and return its evidence; see ``Spec`` and ``Evidence`` on the doctor's side for the fields.

    Whatever the target's packages raise becomes part of the evidence.
    """
    started = time.perf_counter()
    evidence: dict[str, Any] = {"id": spec["id"], "ended": "returned", "during": "load", "notes": []}
    spy = watch.Spy()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _step(spec, evidence, spy)
    except (models.ModelUnavailableError, functions.FunctionUnavailableError) as error:
        evidence.update(ended="skipped", why=str(error))
    except Exception as error:
        evidence.update(ended="raised", error=failures.evidence(error, spy.last))
        _judge_forward_only(evidence)
    evidence.update(handovers=spy.seen, function_called=spy.calls, modules=stack.versions_loaded())
    evidence["seconds"] = round(time.perf_counter() - started, 4)
    return evidence


def _judge_forward_only(evidence: dict[str, Any]) -> None:
    """Take a backward pass that failed only for want of CUDA as not run."""
    if evidence["during"] == "backward" and evidence["error"]["needs_cuda"]:
        evidence.update(ended="returned", forward_only=True)


def _step(spec: dict[str, Any], evidence: dict[str, Any], spy: watch.Spy) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(spec["seed"])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    evidence.update(during="build", device=str(device.type))
    model = models.build(spec["model"], spec["convention"], spec["packed"])
    model.module.to(device)
    inputs = {
        name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in model.inputs.items()
    }
    evidence.update(model_class=model.name, model_place=places.of_code(inspect.unwrap(type(model.module).forward).__code__))
    insides = watch.Insides(model.layers)

    evidence["during"] = "plain"
    plain = _train(engines.Engine(model.module), inputs, spec["seed"])
    plain_calls, plain_keywords = insides.take()
    evidence["plain_loss"] = plain["loss"]

    evidence["during"] = "enable"
    if spec["function"] != "none":
        loaded = functions.enable(spec["function"], model.module, spec["replacement"])
        if loaded:
            evidence["loaded"] = loaded
        spy.install(model.module)

    evidence["during"] = "engine"
    engine = engines.wrap(spec["engine"], model.module, model.layers, len(inputs["input_ids"]))

    is_torchs = spec["function"] == "none" or spec["function"].startswith("torch:")
    try:
        checkpointed = _train(engine, inputs, spec["seed"], evidence, trace=not is_torchs)
    finally:
        evidence.update(_insides(model, insides, plain_calls, plain_keywords))
    gradients = _compare(plain["gradients"], checkpointed["gradients"])
    if gradients["wrong"] and spec["engine"] == "none":
        which = _which_is_right(model.module, inputs, plain["gradients"], checkpointed["gradients"])
        gradients["confirmed"] = which
    saved = {"plain": plain["saved"], "checkpointed": checkpointed["saved"]}
    evidence.update(gradients=gradients, saved_bytes=saved, during="")


def _train(
    engine: engines.Engine,
    inputs: dict[str, Any],
    seed: int,
    evidence: dict[str, Any] | None = None,
    trace: bool = False,
) -> dict[str, Any]:
    """One forward and backward pass.

    Args:
        engine: The wrapped model.
        inputs: The batch.
        seed: Dropout draws the same in every step that is compared.
        evidence: Told of the stage and the loss as they come.
        trace: Note where objects are made in the forward pass, to tell who built the callable. It takes time, and of
            interest is only what is handed to a function that may reach into it.

    Returns:
        ``loss``, ``saved`` bytes, and ``gradients`` by parameter name, gathered and copied.
    """
    module = engine.model.module if hasattr(engine.model, "module") else engine.model
    saved = watch.SavedBytes(module)
    told: dict[str, Any] = {} if evidence is None else evidence
    told["during"] = "forward"
    torch.manual_seed(seed)
    with saved.hooks(), watch.tracing_allocations() if trace else contextlib.nullcontext():
        loss = engine.forward(inputs).loss
    told.update(during="backward", loss=float(loss.detach()))
    engine.backward(loss)
    gradients = {
        name: gradient.detach().float().clone() if (gradient := engine.gradient(parameter)) is not None else None
        for name, parameter in module.named_parameters()
        if parameter.requires_grad
    }
    module.zero_grad(set_to_none=True)
    return {"loss": float(loss.detach()), "saved": saved.total, "gradients": gradients}


def _insides(
    model: models.Model, insides: watch.Insides, plain_calls: dict[str, int], plain_keywords: dict[str, Any]
) -> dict[str, Any]:
    """How often each layer ran, and the keyword arguments that did not reach it."""
    calls, keywords = insides.take()
    layers = []
    for name, layer in model.layers.items():
        counted = watch.forwards(name, plain_calls, calls)
        if counted:
            layers.append({"name": name, "type": type(layer).__name__, "plain": counted[0], "forwards": counted[1]})
    return {"layers": layers, "keywords_lost": watch.lost_keywords(plain_keywords, keywords)}


def _compare(plain: dict[str, Any], checkpointed: dict[str, Any]) -> dict[str, Any]:
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
        if not difference <= WRONG:  # also true for NaN
            wrong.append({"parameter": name, "difference": difference if difference == difference else 1e308})
    return {"compared": compared, "missing": missing[:LISTED], "wrong": wrong[:LISTED]}


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
        loss = float(module(**inputs).loss)
        for name, value in kept.items():
            parameters[name].copy_(value)
    module.train()
    return loss
