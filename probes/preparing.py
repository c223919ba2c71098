"""A trainer's own preparation of the model, as a job has it: its patches for the model's family, and who replaced what."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import sysconfig
from typing import Any, Callable

import torch

from . import catalog, models, places, replacements, stack

UNAVAILABLE: dict[str, str] = {}
"""Trainers that cannot be imported whole, each with the reason."""


class Preparation:
    """What a trainer does to a model before it trains it, as far as it can be done here, and what is replaced meanwhile."""

    def __init__(self, spec: dict[str, Any], evidence: dict[str, Any]) -> None:
        self.evidence = evidence
        setup, function = spec["setup"], str(spec["function"])
        self.model = spec["model"]
        self.trainer = "" if setup["without_patches"] or self.model == models.OWN else setup["prepared_by"]
        self.arguments = json.loads(setup["arguments"] or "{}")
        is_whose = function in catalog.FUNCTIONS or (":" in function and not function.startswith("torch:"))
        owner = self.trainer or (function.partition(":")[0] if is_whose else "")
        self.watch = replacements.Watch(_told_apart(owner)) if owner else None
        self.state: Any = None

    def before(self) -> None:
        """What comes before the model is made."""
        if self.trainer:
            self._try(lambda trainer: setattr(self, "state", trainer.before_model(self.arguments, self._config())))

    def after(self, module: torch.nn.Module) -> None:
        """What comes once the model is made, but for switching checkpointing on."""
        if self.watch is not None:
            self.watch.add_model(module)
        if self.trainer and "unprepared" not in self.evidence:
            self._try(lambda trainer: trainer.after_model(self.state, self.arguments, module))

    def _try(self, act: Callable[[Any], None]) -> None:
        if why := load_whole(self.trainer):
            self.evidence["unprepared"] = why
            return
        try:
            with self.watching():
                act(_file_of(self.trainer))
        except Exception as error:
            self.evidence["unprepared"] = _in_a_line(error)

    @contextlib.contextmanager
    def watching(self) -> Any:
        """A context in which replacements are noted."""
        if self.watch is None:
            yield
            return
        try:
            with self.watch:
                yield
        finally:
            self.evidence["replaced"] = self.watch.told()

    def _config(self) -> Any:
        """The model's whole configuration, whose class decides on patches; its modeling module is watched."""
        from transformers import AutoConfig

        is_folder = os.path.isabs(self.model)
        config = AutoConfig.from_pretrained(self.model) if is_folder else AutoConfig.for_model(self.model)
        modeling = type(config).__module__.replace(".configuration_", ".modeling_")
        with contextlib.suppress(ImportError):
            assert self.watch is not None
            self.watch.add_modules([importlib.import_module(modeling)])
        return config


def load_whole(name: str) -> str:
    """Import all of a trainer that its preparation needs; why it cannot be, or nothing."""
    if name not in UNAVAILABLE:
        try:
            _file_of(name).load_whole()
            UNAVAILABLE[name] = ""
        except Exception as error:
            UNAVAILABLE[name] = _in_a_line(error)
            for module in [one for one in sys.modules if one.partition(".")[0] == name]:
                del sys.modules[module]  # its function is loaded alone then
    return UNAVAILABLE[name]


def _in_a_line(error: Exception) -> str:
    first = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {first}"[:500]


def _file_of(trainer: str) -> Any:
    module = next(one["module"] for name, one in catalog.FUNCTIONS.items() if name.partition(":")[0] == trainer)
    return importlib.import_module(f".trainers.{module}", __package__)


def _told_apart(owner: str) -> Callable[[str], bool]:
    """Whether the lines of a file count by themselves: those of a trainer or of the user, not those of what these import.

    Args:
        owner: A trainer's package, or where the user's own function is defined.
    """
    is_file = owner.endswith(".py")
    root = "" if is_file else stack.root_of(owner.partition(".")[0])
    installed = [path + os.sep for path in map(os.path.abspath, sys.path) if path.endswith("-packages")]
    others = (*installed, sysconfig.get_paths()["stdlib"] + os.sep, "<")

    def is_told_apart(file: str) -> bool:
        is_owners = bool(root) and file.startswith(root + os.sep)
        return is_owners or not (places.is_ours(file) or file.startswith(others))

    return is_told_apart
