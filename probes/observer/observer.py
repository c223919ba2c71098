"""Begins, follows the job's forward passes and optimizer steps, and ends after the steps that it was asked for."""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import sys
import weakref
from types import CodeType
from typing import Any, Callable

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from .. import catalog
from . import jobs_model, passed, replaced, samples
from .arriving import Arriving
from .evidence import Step, of_error
from .jobs_model import JobsModel
from .reporting import Reporting
from .runs import Layers, Run
from .switching import MODULE, Switching

_NOT_TOLD = (
    *("ChildFailedError", "CalledProcessError", "ProcessRaisedException"),
    *("SignalException", "KeyboardInterrupt", "SystemExit"),
)
"""Errors that only say that another process failed, or that the job is being stopped."""


def _safe(method: Callable[..., Any]) -> Callable[..., Any]:
    """A hook whose own error ends the observation and never reaches the job."""

    @functools.wraps(method)
    def hook(self: Observer, *args: Any) -> None:
        if not self.is_open:
            return
        try:
            method(self, *args)
        except Exception as error:
            self.give_up(error)

    return hook


class Observer:
    """Observes one process. Everything it puts anywhere is taken out by ``close``."""

    def __init__(self, folder: str, settings: dict[str, Any]) -> None:
        catalog.take(settings["catalog"])
        self.steps_wanted = int(settings["steps"])
        self.report = Reporting(folder)
        self.switching = Switching()
        self.model: JobsModel | None = None
        self.layers: Layers | None = None
        self.arriving: Arriving | None = None
        self.step = Step()
        self.is_open = True
        self._codes: dict[CodeType, str] = {}
        self._passed: dict[str, passed.Passed] = {}
        self._seen_modules: weakref.WeakSet[torch.nn.Module] = weakref.WeakSet()
        self._steps_done = 0
        self._has_stepped = False
        self._is_ours: set[int] = set()
        self._handles: list[Any] = []
        self._restore: list[Callable[[], None]] = []

    # -- beginning and end

    def begin(self) -> None:
        """Put the hooks in place that find the model; those that cost something come when it is found."""
        self._global = torch.nn.modules.module.register_module_forward_pre_hook(self._called)
        self._handles.append(self._global)
        self._handles.append(register_optimizer_step_pre_hook(self._before_update))
        self._handles.append(register_optimizer_step_post_hook(self._after_update))
        self._stand_in_front_of_backward()
        self._listen_for_errors()
        atexit.register(self._at_exit)
        self._restore.append(lambda: atexit.unregister(self._at_exit))

    def close(self, ended: str, why: str = "") -> None:
        """Take all hooks out, and write what was observed."""
        if not self.is_open:
            return
        self.is_open = False
        for handle in self._handles:
            handle.remove()
        for part in (self.layers, self.arriving, self.switching):
            if part is not None:
                part.close()
        for restore in self._restore:
            restore()
        if self.report.told["steps"] or why or self.model is not None:
            self.report.add_environment()
            self.report.write(ended=ended, why=why)
        self.model = self.layers = self.arriving = None
        self._codes.clear()

    def end(self, error: BaseException | None = None) -> None:
        """End the observation now, with the error that ended the training, if one did."""
        if not self.is_open:
            return
        try:
            if error is not None:
                self._raised(error, "")
            else:
                self._finish_step()
            self.close("exited" if error is None else "raised")
        except Exception as own:
            self.give_up(own)

    def give_up(self, error: Exception) -> None:
        """End the observation for an error of our own; the job goes on."""
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        where = f"{os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}" if trace else "?"
        why = f"{type(error).__name__} at {where}: {error}"[:500]
        with contextlib.suppress(Exception):
            self.close("gave up", why)
        with contextlib.suppress(Exception):  # what cannot be written may be what is wrong
            self.report.told.update(steps=[], error=None)
            self.report.write(ended="gave up", why=why)

    def _at_exit(self) -> None:
        if self.report.is_ours:
            self.end()

    # -- the model

    @_safe
    def _called(self, module: torch.nn.Module, args: Any) -> None:
        """The first module that the job calls in training is the model, or is none and is not looked at again."""
        if samples.is_out_of_reach() or not module.training or not torch.is_grad_enabled() or samples.is_backward():
            return
        if module in self._seen_modules:
            return
        self._seen_modules.update(module.modules())
        if not jobs_model.trains(module):
            return
        found = jobs_model.find(module)
        if found.layers or found.compiled:
            self._adopt(found)

    def _adopt(self, model: JobsModel) -> None:
        self._global.remove()
        self.model = model
        self._is_ours = {id(parameter) for parameter in model.root.parameters()}
        engine = jobs_model.engine(model.root)
        self.step.open(model, engine, self.switching)
        if model.compiled:
            self.report.told["steps"].append(self.step.uncompiled())
            self.close("compiled")
            return
        for function in jobs_model.functions(model):
            code = passed.codes_of(jobs_model.innermost(function))
            if code is not None:
                self._codes[code] = jobs_model.name_of(function)
        self.step.replaced = replaced.find(model)
        self.layers = Layers(model.layers, self._began, self.give_up)
        self.arriving = Arriving(model.inner, in_hooks=engine.startswith("zero"))
        self._handles.append(model.root.register_forward_pre_hook(self._root_began))
        self._handles.append(_always(model.root, self._root_ended))
        self.step.forward_began()

    @_safe
    def _root_began(self, module: torch.nn.Module, args: Any) -> None:
        if samples.is_backward() or not torch.is_grad_enabled():
            return
        if self._has_stepped:
            self._finish_step()
        if self.is_open:
            self.step.forward_began()

    @_safe
    def _root_ended(self, module: torch.nn.Module, args: Any, output: Any) -> None:
        error = sys.exc_info()[1]
        if error is not None and isinstance(error, Exception):
            self._raised(error, "forward")
        elif not samples.is_backward():
            self.step.forward_ended()

    # -- the layers

    def _began(self, run: Run) -> None:
        """Note what a layer is passed as. Layers of one class are passed alike: one is looked at in full."""
        if run.is_again or self.model is None:
            return
        kind = self.model.types[run.layer]
        if kind not in self._passed:
            found = passed.find(self._codes)
            if found is not None:
                self._passed[kind] = found
                self.step.passed.append(found)
                self.step.under.append(run.layer)
        elif passed.is_inside(set(self._codes)):
            self.step.under.append(run.layer)

    # -- the steps

    @_safe
    def _before_update(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        if self.arriving is not None and not self.step.looked and self._is_models(optimizer):
            self.step.looked = True
            self.step.missing, self.step.not_finite = self.arriving.look()

    @_safe
    def _after_update(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        if self.model is None or not self._is_models(optimizer):
            return
        self._has_stepped = True
        if not samples.is_backward() and self._steps_done + 1 >= self.steps_wanted:
            self._finish_step()

    def _is_models(self, optimizer: Any) -> bool:
        """Whether an optimizer trains the model; engines give theirs copies of the parameters."""
        if self.step.engine.startswith("zero"):
            return True
        return any(id(one) in self._is_ours for group in optimizer.param_groups for one in group["params"])

    def _finish_step(self) -> None:
        if self.layers is None or not self.layers.runs:
            return
        self.report.told["steps"].append(self.step.evidence(self.layers))
        self._steps_done += 1
        self._has_stepped = False
        self.step.next()
        self.layers.measures = False
        if self._steps_done >= self.steps_wanted:
            self.close("observed")
        else:
            self.report.add_environment()
            self.report.write()

    # -- errors

    def _listen_for_errors(self) -> None:
        previous = sys.excepthook

        def hook(kind: Any, error: BaseException, trace: Any) -> None:
            if self.is_open and self.report.is_ours:
                try:
                    self._raised(error, "")
                    self.close("raised")
                except Exception as own:
                    self.give_up(own)
            previous(kind, error, trace)

        def restore() -> None:
            if sys.excepthook is hook:
                sys.excepthook = previous

        sys.excepthook = hook
        self._restore.append(restore)

    def _stand_in_front_of_backward(self) -> None:
        """An error in backward is noted where it is raised: not every job lets it through to the end."""
        original = torch.autograd.backward

        @functools.wraps(original)
        def backward(*args: Any, **kwargs: Any) -> Any:
            try:
                return original(*args, **kwargs)
            except Exception as error:
                self._raised_in_backward(error)
                raise

        def restore() -> None:
            if torch.autograd.backward is backward:
                torch.autograd.backward = original

        torch.autograd.backward = backward
        self._restore.append(restore)

    @_safe
    def _raised_in_backward(self, error: Exception) -> None:
        self._raised(error, "backward")

    def _raised(self, error: BaseException, during: str) -> None:
        """Keep an error as evidence; the one that is already known is kept as it is."""
        if type(error).__name__ in _NOT_TOLD or getattr(error, "_ckptdoctor_told", False):
            return
        evidence = of_error(error, during, self._codes, self.step, self.layers)
        with contextlib.suppress(AttributeError):
            error._ckptdoctor_told = True  # type: ignore[attr-defined]
        self.report.told["error"] = evidence
        self.report.add_environment()
        self.report.write(why=f"{type(error).__name__}: {error}"[:500])


def _always(module: torch.nn.Module, hook: Any) -> Any:
    """Register a hook that is also called when the forward pass raises an error, where this torch can do so."""
    try:
        return module.register_forward_hook(hook, always_call=True)
    except TypeError:
        return module.register_forward_hook(hook)


def start(folder: str = "") -> Observer:
    """Observe this process, with the settings in the folder of evidence.

    Args:
        folder: That folder; the one that a variable names if it is not given.
    """
    folder = folder or os.environ["CKPTDOCTOR_EVIDENCE"]
    with open(os.path.join(folder, "settings.json"), encoding="utf-8") as handle:
        observer = Observer(folder, json.load(handle))
    observer.begin()
    hooked = sys.modules.get("_ckptdoctor_hook")
    if hooked is not None:
        hooked.when_executed(MODULE, observer.switching.install)
    return observer
