"""What was observed in one step, as evidence; see ``Evidence`` on the doctor's side for the fields."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import failures, wrapper
from . import jobs_model, kept, passed, preserving
from .attached import Attached
from .comparing import Comparison
from .jobs_model import JobsModel
from .passed import Passed
from .runs import Layers, Run
from .switching import Switching

NONE = "none"
"""The name of no checkpoint function, and of no engine."""

SWITCH_METHODS = ("checkpointing_enable", "_set_gradient_checkpointing", "enable_input_require_grads")
"""Parts of the names of methods that switch checkpointing on."""


class Step:
    """What is gathered over one step of the optimizer; what belongs to the whole job is kept from step to step."""

    def __init__(self) -> None:
        self.model: JobsModel | None = None
        self.engine = NONE
        self.switching: Switching | None = None
        self.replaced: list[dict[str, Any]] = []
        self.passed: list[Passed] = []
        """Of the whole job."""
        self.number = 0
        self.next()

    def next(self) -> None:
        """Begin with the next step."""
        self.number += 1
        self.compared = Comparison()
        self.looked = False
        self.missing: list[str] = []
        self.not_finite: list[str] = []

    def open(self, model: JobsModel, engine: str, switching: Switching) -> None:
        """Take in the model, before its first step."""
        self.model, self.engine, self.switching = model, engine, switching

    def unobserved(self, why: str) -> dict[str, Any]:
        """Evidence of a model whose layers could not be watched, and why."""
        known = self._of_job([]) if self.model is not None else {"step": self.number, "function": NONE, "engine": NONE}
        return {**known, "ended": "skipped", "unobserved": why, "layers": []}

    def settle(self, layers: Layers) -> None:
        """Compare what ran again so far, and let go of the copies."""
        for again, candidates in layers.repeated:
            self.compared.add(again, candidates)
        self.compared.settle()
        for again, _ in layers.repeated:
            again.forget()
        layers.repeated.clear()

    def evidence(self, layers: Layers) -> dict[str, Any]:
        """What was observed in the step that is over."""
        self.settle(layers)
        runs, measured = layers.take(), layers.measures
        wanted = self._wanted(runs)
        counted = self._counted(wanted, runs, layers)
        told = {
            **self._of_job(wanted),
            "ended": "returned",
            "layers": counted,
            "layers_without": len({run.layer for run in runs} - set(wanted)),
            "function_called": sum(run.is_under for run in runs),
            **self._differences(),
            "not_finite": self.not_finite[:20],
            "unused": [],
        }
        lost = self._lost(runs, wanted, layers)
        told["gradients"] = {"compared": 0, "missing": [one for one in self.missing if _is_in(one, lost)]}
        told["unused"] = [one for one in self.missing if not _is_in(one, lost)][:20]
        if not told["preserves_random"] and any(one["what"] == "random numbers" for one in told["differs"]):
            told["random_dropped_by"] = preserving.dropped_at()
        told["kept"] = kept.evidence(runs, wanted) if measured else None
        if layers.devices:
            told["peak_bytes"] = kept.peak(layers.devices)
        return told

    def _differences(self) -> dict[str, Any]:
        types, told = self._types(), self.compared.told()
        differs = [{"layer": layer, "type": types.get(layer, ""), **one} for layer, one in told]
        return {
            "differs": [one for one in differs if one["what"] != "arithmetic"],
            "arithmetic": [
                {"layer": one["layer"], "forward": one["forward"], "recomputed": one["again"]}
                for one in differs
                if one["what"] == "arithmetic"
            ],
        }

    def of_job_or_nothing(self, layers: Layers | None) -> dict[str, Any]:
        """What is known of the job when an error ends it."""
        if self.model is None or layers is None:
            return {"step": self.number, "function": NONE, "engine": self.engine}
        wanted = self._wanted(layers.runs)
        counted = [self._layer(name, layers.runs, layers) for name in wanted]
        called = {
            "layers": [one for one in counted if one is not None],
            "function_called": sum(run.is_under for run in layers.runs),
        }
        return {**self._of_job(wanted), **called}

    def _types(self) -> dict[str, str]:
        return self.model.types if self.model is not None else {}

    def _wanted(self, runs: Sequence[Run]) -> list[str]:
        """Layers that are to be checkpointed: those that somebody asked for, and those that ran under a function or again."""
        if self.model is None:
            return []
        chosen = jobs_model.wanted(self.model) | {run.layer for run in runs if run.is_under or run.is_again}
        ran = {run.layer for run in runs}
        return [name for name in self.model.layers if name in chosen and name in ran]

    def _counted(self, wanted: Sequence[str], runs: Sequence[Run], layers: Layers) -> list[dict[str, Any]]:
        by_layer: dict[str, list[Run]] = {}
        for run in runs:
            by_layer.setdefault(run.layer, []).append(run)
        found = [self._layer(name, by_layer[name], layers) for name in wanted]
        return [one for one in found if one is not None]

    def _layer(self, name: str, own: Sequence[Run], layers: Layers) -> dict[str, Any] | None:
        again = sum(run.is_again for run in own)
        in_forward = len(own) - again
        if not in_forward:
            return None
        # A layer without a graph that is not run again is one that backward does not come to.
        is_cut_off = not again and not any(run.has_graph for run in own)
        return {
            "name": name,
            "type": self._types().get(name, ""),
            "plain": in_forward,
            "forwards": len(own),
            "in_forward": in_forward,
            "reached": name in layers.reached and not is_cut_off,
            "trained": name in layers.trained,
        }

    def _lost(self, runs: Sequence[Run], wanted: list[str], layers: Layers) -> list[str]:
        """Trained layers that ran without a graph in the forward pass, and not again: nothing leads to their parameters."""
        lead_back = {run.layer for run in runs if run.has_graph or run.is_again}
        return [name for name in wanted if name in layers.trained and name not in lead_back] if self.looked else []

    def _of_job(self, wanted: Sequence[str]) -> dict[str, Any]:
        """What is the same in each step."""
        assert self.model is not None
        inner, functions = self.model.inner, jobs_model.functions(self.model)
        wrapped = jobs_model.wrapped(self.model)
        function = self._function(functions, wrapped, wanted)
        seen = [one for one in functions if jobs_model.place_of(one)]
        place = jobs_model.place_of(seen[0]) if seen else None
        wrappers = wrapper.all_in(inner)
        device = next((one.device.type for one in inner.parameters()), "cpu")
        return {
            "step": self.number,
            "function": function,
            "engine": self.engine,
            "fsdp_checkpointing": bool(wrapped and functions),
            "wrapper": passed.place_of_wrapper(wrappers[0]) if wrappers else None,
            "model_class": jobs_model.type_of(inner),
            "family": str(getattr(getattr(inner, "config", None), "model_type", "")),
            "model_place": passed.place_of_forward(inner),
            "handovers": [one.handover for one in self.passed],
            "preserves_random": all(one.preserves for one in self.passed),
            "replaced": self.replaced,
            "switched_on_by": self.switching.by if self.switching is not None else None,
            "loaded": {"place": place, "how": "import"} if place and not function.startswith("torch:") else None,
            "device": device,
        }

    def _function(self, functions: list[Any], wrapped: set[str], wanted: Sequence[str]) -> str:
        """The checkpoint function's name: what torch was really asked for counts more than what was handed over."""
        kinds = [one.reentrant for one in self.passed if one.reentrant is not None]
        torchs = f"torch:{'reentrant' if kinds[0] else 'non-reentrant'}" if kinds else ""
        named = next((jobs_model.name_of(one) for one in functions), "")
        if named and not named.startswith("torch:"):
            return named
        if wrapped and not functions:
            return "torch:wrapper"
        own = next((one.function for one in self.passed if not one.function.startswith(("torch", "none"))), "")
        return own or torchs or named or ("torch:non-reentrant" if wanted else NONE)


def _is_in(parameter: str, layers: Sequence[str]) -> bool:
    return any(parameter.startswith(f"{name}.") for name in layers)


def of_error(error: BaseException, during: str, step: Step, attached: Attached | None) -> dict[str, Any]:
    """An error that ended a step, or the job before it."""
    layers, codes = (None, {}) if attached is None else (attached.layers, attached.codes)
    found = passed.in_traceback(error, codes)
    told = failures.evidence(error, found["passed"] if found else None)
    base = step.of_job_or_nothing(layers)
    handovers = [*base.get("handovers", []), *([found["handover"]] if found else [])]
    return {
        **base,
        "ended": "raised",
        "error": told,
        "during": during or _during(told, layers is not None),
        "handovers": handovers,
    }


def _during(error: dict[str, Any], has_begun: bool) -> str:
    """The stage in which an error was raised that was seen at the end of the program only."""
    names = [frame["function"].rpartition(".")[2] for frame in error["frames"]]
    if any(part in name for name in names for part in SWITCH_METHODS) or error.get("refused_by"):
        return "enable"
    if not has_begun:
        return "build"
    return "backward" if "backward" in names else "forward"
