"""One probe: a plain training step, then the same one with checkpointing, and all that was seen."""

from __future__ import annotations

import contextlib
import time
import warnings
from typing import Any

import torch

from . import engines, failures, functions, models, stack, watch

WRONG = 1e-4
"""Largest difference of a gradient, relative to its largest absolute value, that counts as equal in fp32.

Recomputation runs the same operations on the same values; what differs in practice is the order of a reduction.
"""

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
    evidence["model_class"] = model.name
    insides = watch.Insides(model.layers)

    evidence["during"] = "plain"
    plain = _train(engines.Engine(model.module), inputs)
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

    with contextlib.ExitStack() as after:
        after.callback(lambda: evidence.update(_insides(model, insides, plain_calls, plain_keywords)))
        is_torchs = spec["function"] == "none" or spec["function"].startswith("torch:")
        checkpointed = _train(engine, inputs, evidence, trace=not is_torchs)
        evidence["gradients"] = _compare(plain["gradients"], checkpointed["gradients"])
        evidence.update(saved_bytes={"plain": plain["saved"], "checkpointed": checkpointed["saved"]}, during="")


def _train(
    engine: engines.Engine, inputs: dict[str, Any], evidence: dict[str, Any] | None = None, trace: bool = False
) -> dict[str, Any]:
    """One forward and backward pass.

    Args:
        engine: The wrapped model.
        inputs: The batch.
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
