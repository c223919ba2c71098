"""One probe: which kind of step it takes, and its evidence, however it ends."""

from __future__ import annotations

import time
import warnings
from typing import Any

from . import engines, failures, functions, loading, models, shortages, stack, stand_in, watch
from .step import Note, Step

UNAVAILABLE = (models.ModelUnavailableError, functions.FunctionUnavailableError, engines.EngineUnavailableError)


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
    except functions.NeedsGpuError as error:
        if _kind(spec) is Step:
            evidence.update(forward_only=True, stand_in=_with_stand_in(spec))
        else:
            evidence.update(ended="skipped", during="build", why=str(error))  # of the usual step alone, it can be told
    except UNAVAILABLE as error:
        evidence.update(ended="skipped", why=str(error))
    except (Exception, SystemExit) as error:
        if out := shortages.ran_out(error):
            evidence.update(ended="skipped", why=out, unfit=True)
        else:
            evidence.update(ended="raised", error=failures.evidence(error, spy.last))
        if evidence["during"] == "backward" and evidence.get("error", {}).get("needs_cuda"):
            # A backward pass that failed only for lack of CUDA was not run; a simulation on the CPU is evidence of its own.
            evidence.update(ended="returned", forward_only=True, stand_in=_with_stand_in(spec))
    evidence.update(handovers=spy.seen, function_called=spy.calls, modules=stack.versions_loaded())
    evidence["missing"] = sorted(loading.ASKED)
    evidence["seconds"] = round(time.perf_counter() - started, 4)
    return evidence


def _kind(spec: dict[str, Any]) -> Any:
    if spec["variant"] == "course":
        from .course import Course

        return Course
    if spec["variant"] == "perturbed":
        from .perturbed import Perturbed

        return Perturbed
    if spec["variant"] in ("accumulated", "second"):
        from .repeated import Accumulated, Second

        return Accumulated if spec["variant"] == "accumulated" else Second
    return Step


def _with_stand_in(spec: dict[str, Any]) -> dict[str, Any]:
    """The evidence of the same step, simulated on the CPU.

    What such functions do about autocast depends on the device. Where a step in another precision goes wrong, the step is
    taken again in fp32: a fault that stays has another reason.
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
        if shortages.ran_out(error):
            raise
        evidence.update(ended="raised", error=failures.evidence(error, spy.last))
    return evidence
