"""Begins, follows the job's forward passes and optimizer steps, and ends after the steps that it was asked for."""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import sys
import weakref
from typing import Any, Callable

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from .. import catalog
from . import in_front, jobs_model, replaced, samples
from .attached import Attached
from .evidence import Step, of_error
from .jobs_model import JobsModel
from .passes import Passes
from .reporting import Reporting
from .switching import MODULE, Switching
from .updates import Updates

_NOT_TOLD = (
    *("ChildFailedError", "CalledProcessError", "ProcessRaisedException"),
    *("SignalException", "KeyboardInterrupt", "SystemExit"),
)
"""Errors that only say that another process failed, or that the job is being stopped."""


def _safe(method: Callable[..., Any]) -> Callable[..., Any]:
    """A hook whose own error ends the observation and never reaches the job."""

    @functools.wraps(method)
    def hook(self: Observer, *args: Any) -> None:
        if not self.is_open or samples.is_out_of_reach():
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
        self.folder = folder
        self.report = Reporting(folder)
        self.switching = Switching()
        self.attached: Attached | None = None
        self.passes = Passes()
        self.updates = Updates()
        self.step = Step()
        self.is_open = True
        self._seen_modules: weakref.WeakSet[torch.nn.Module] = weakref.WeakSet()
        self._steps_done = 0
        self._has_stepped = False
        self._handles: list[Any] = []
        self._of_calls: Callable[[], None] = lambda: None
        self._restore: list[Callable[[], None]] = []

    # -- beginning and end

    def begin(self) -> None:
        """Put in place what finds the model; what costs something comes when it is found."""
        self._of_calls = in_front.of_calls(self._called)
        self._handles += [
            register_optimizer_step_pre_hook(self._before_update),
            register_optimizer_step_post_hook(self._after_update),
        ]
        self._restore += [
            in_front.of_backward(self._backward_began, self._raised_in_backward),
            in_front.of_the_end(self._raised_at_the_end),
            self.switching.close,
            lambda: atexit.unregister(self._at_exit),
        ]
        atexit.register(self._at_exit)

    def close(self, ended: str, why: str = "") -> None:
        """Take all hooks out, and write what was observed."""
        if not self.is_open:
            return
        self.is_open = False
        unseen = "" if self.report.told["steps"] else self.updates.why_unseen(self.attached is not None)
        self._of_calls()
        if self.attached is not None:
            self.attached.close()
            self.attached = None
        for handle in self._handles:
            handle.remove()
        for restore in self._restore:
            restore()
        if unseen:
            self.report.told["steps"].append(self.step.unobserved(unseen))
        if self.report.told["steps"] or self.report.told.get("error") or why:
            self.report.add_environment()
            self.report.write(ended=ended, why=why)
        self.step = Step()
        self._restore.clear()

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

    def _at_exit(self) -> None:
        if self.report.is_ours:
            self.end()

    # -- the model

    @_safe
    def _called(self, module: torch.nn.Module) -> None:
        """The first module with layers that the job calls with gradients is the model.

        A module in eval mode is it only as long as none in train mode is called: a teacher may keep its gradients.
        """
        if not torch.is_grad_enabled() or samples.is_backward() or module in self._seen_modules:
            return
        if self.attached is not None and not module.training:
            return
        self._seen_modules.update(module.modules())
        if not jobs_model.trains(module):
            return
        found = jobs_model.find(module)
        if found.layers:
            if self.attached is not None:
                self.attached.close()
                self.attached = None
            self._adopt(found)

    def _adopt(self, model: JobsModel) -> None:
        if not self.report.is_ours:  # a fork that trains
            self.report = Reporting(self.folder)
        if model.root.training:
            self._of_calls()
        engine = jobs_model.engine(model.root)
        self.updates.of(model.root, engine)
        self.step.open(model, engine, self.switching)
        if model.unobserved:
            self._tell_unobserved(model.unobserved)
            return
        self.attached = Attached(model, engine, self.passes, self._root_began, self._root_ended, self.give_up)
        self.step.replaced, self.step.passed = replaced.find(model), self.attached.passed

    def _tell_unobserved(self, why: str) -> None:
        self.report.told["steps"].append(self.step.unobserved(why))
        self.close("not observed")

    @_safe
    def _root_began(self, module: torch.nn.Module, args: Any) -> None:
        if samples.is_backward():
            return
        if torch.is_grad_enabled():
            if self._has_stepped:
                self._finish_step()
            elif self.attached is not None:
                self.step.settle(self.attached.layers)
        self.passes.began(module.training)

    @_safe
    def _root_ended(self, module: torch.nn.Module, args: Any, output: Any) -> None:
        if samples.is_backward():
            return
        self.passes.ended()
        error = sys.exc_info()[1]
        if isinstance(error, Exception) and output is None:
            self._raised(error, "forward")

    @_safe
    def _backward_began(self) -> None:
        if self.attached is not None and not samples.is_backward():
            self.attached.layers.drop(self.passes.evaluations())

    # -- the steps

    @_safe
    def _before_update(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        if samples.is_backward():
            self.step.looked = True  # gradients are used and given up as they arrive
        if not any(map(callable, (*args[1:], *kwargs.values()))):  # a closure makes them only then
            self._look(optimizer)

    def _look(self, optimizer: Any) -> None:
        if self.attached is not None and not self.step.looked and self.updates.trains_model(optimizer):
            self.step.looked = True
            self.step.missing, self.step.not_finite = self.attached.arriving.look()

    @_safe
    def _after_update(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        is_backward = samples.is_backward()
        if self.attached is None or not self.attached.layers.runs:
            self._saw_nothing()
        elif self.updates.ends_step(optimizer):
            if not is_backward:
                self._look(optimizer)
            self._has_stepped = True
            if not is_backward and self._steps_done + 1 >= self.steps_wanted:
                self._finish_step()

    def _saw_nothing(self) -> None:
        """An optimizer made a step, and no layer ran before it that could be watched."""
        if self._steps_done or samples.is_backward():
            return
        self.updates.unseen += 1
        has_model = self.attached is not None
        if self.updates.unseen > self.steps_wanted and (has_model or "compiled" in self.updates.why_unseen(has_model)):
            self.close("not observed")

    def _finish_step(self) -> None:
        layers = None if self.attached is None else self.attached.layers
        if layers is None:
            return
        layers.drop(self.passes.evaluations(is_over=True))
        if not layers.runs:
            return
        self.report.told["steps"].append(self.step.evidence(layers))
        self._steps_done += 1
        self._has_stepped = False
        self.step.next()
        layers.measures = False
        if self._steps_done >= self.steps_wanted:
            self.close("observed")
        else:
            self.report.add_environment()
            self.report.write()

    # -- errors

    @_safe
    def _raised_in_backward(self, error: Exception) -> None:
        self._raised(error, "backward")

    @_safe
    def _raised_at_the_end(self, error: BaseException) -> None:
        if self.report.is_ours:
            self.end(error)

    def _raised(self, error: BaseException, during: str) -> None:
        """Keep an error as evidence; the one that is already known is kept as it is."""
        if type(error).__name__ in _NOT_TOLD or getattr(error, "_ckptdoctor_told", False):
            return
        evidence = of_error(error, during, self.step, self.attached)
        with contextlib.suppress(AttributeError):
            error._ckptdoctor_told = True  # type: ignore[attr-defined]
        self.report.told["error"] = evidence
        self.report.add_environment()
        self.report.write(why=f"{type(error).__name__}: {error}"[:500])
        if self.attached is not None:  # where the job goes on, that pass is over, and no layer of it runs again
            self.attached.layers.take()


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
